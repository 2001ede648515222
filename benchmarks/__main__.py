"""python -m benchmarks [NAME …]: all benchmarks of speed, or those named. On a quiet machine.

`proofs`, what each encoder can do on tasks made by a rule, is run by its name only.
"""

import sys

from benchmarks import loader, start, step

SPEED = {"loader": loader.main, "start": start.main, "step": step.main}


def proofs() -> None:
    from benchmarks.proofs import main  # matplotlib: no benchmark of speed pays for it

    main()


ALL = {**SPEED, "proofs": proofs}

if __name__ == "__main__":
    names = sys.argv[1:] or list(SPEED)
    if odd := [name for name in names if name not in ALL]:
        sys.exit(f"benchmarks: {odd[0]} is none of {', '.join(ALL)}")
    for name in names:
        ALL[name]()
