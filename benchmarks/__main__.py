"""python -m benchmarks [NAME …]: those named, or all but the ones that train. On a quiet machine.

`stream`, `http`, `serve`, `predict`, `proofs`, `intervals`, `vintages` and `correct` train, for minutes, `streaming`
takes fifteen:
they run by their names only.
"""

import sys

from benchmarks import (
    backtest,
    class_stream,
    correct,
    event_paths,
    event_stream,
    http,
    intervals,
    loader,
    predict,
    serve,
    start,
    step,
    stream,
    streaming,
    vintages,
)


def proofs() -> None:
    from benchmarks.proofs import main  # matplotlib: no benchmark of speed pays for it

    main()


SPEED = {
    "backtest": backtest.main,
    "class_stream": class_stream.main, "event_paths": event_paths.main, "event_stream": event_stream.main,
    "loader": loader.main, "start": start.main, "step": step.main,
}  # fmt: skip
SLOW = {
    "stream": stream, "http": http, "serve": serve, "intervals": intervals, "vintages": vintages, "correct": correct,
    "streaming": streaming, "predict": predict,
}  # fmt: skip
ALL = {**SPEED, "proofs": proofs, **{name: module.main for name, module in SLOW.items()}}

if __name__ == "__main__":
    names = sys.argv[1:] or list(SPEED)
    if odd := [name for name in names if name not in ALL]:
        sys.exit(f"benchmarks: {odd[0]} is none of {', '.join(ALL)}")
    for name in names:
        ALL[name]()
