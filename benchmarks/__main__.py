"""python -m benchmarks [NAME …]: those named, or all but the ones that train. On a quiet machine.

`stream`, `proofs`, `intervals` and `vintages` train, for minutes, and run by their names only; so does `streaming`.
"""

import sys

from benchmarks import intervals, loader, start, step, stream, streaming, vintages


def proofs() -> None:
    from benchmarks.proofs import main  # matplotlib: no benchmark of speed pays for it

    main()


SPEED = {"loader": loader.main, "start": start.main, "step": step.main}
ALL = {**SPEED, "stream": stream.main, "proofs": proofs, "intervals": intervals.main, "vintages": vintages.main,
       "streaming": streaming.main}  # fmt: skip

if __name__ == "__main__":
    names = sys.argv[1:] or list(SPEED)
    if odd := [name for name in names if name not in ALL]:
        sys.exit(f"benchmarks: {odd[0]} is none of {', '.join(ALL)}")
    for name in names:
        ALL[name]()
