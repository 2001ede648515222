"""python -m benchmarks [NAME …]: all benchmarks, or those named. On a quiet machine."""

import sys

from benchmarks import loader, start, step

ALL = {"loader": loader.main, "start": start.main, "step": step.main}

if __name__ == "__main__":
    names = sys.argv[1:] or list(ALL)
    if odd := [name for name in names if name not in ALL]:
        sys.exit(f"benchmarks: {odd[0]} is none of {', '.join(ALL)}")
    for name in names:
        ALL[name]()
