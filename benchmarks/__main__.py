"""python -m benchmarks [NAME …]: those named, or all but the ones that train. On a quiet machine."""

import sys

from benchmarks import loader, start, step, stream

ALL = {"loader": loader.main, "start": start.main, "step": step.main}
TRAINING = {"stream": stream.main}  # minutes

if __name__ == "__main__":
    names = sys.argv[1:] or list(ALL)
    if odd := [name for name in names if name not in {**ALL, **TRAINING}]:
        sys.exit(f"benchmarks: {odd[0]} is none of {', '.join([*ALL, *TRAINING])}")
    for name in names:
        {**ALL, **TRAINING}[name]()
