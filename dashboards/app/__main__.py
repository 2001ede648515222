"""The dashboard alone, as a process, which forecast ui starts beside MLflow: python -m forecast.dashboards.app.

The token that other machines must bring comes in FORECAST_UI_TOKEN, which no list of processes shows.
"""

import argparse
import logging
import os
import traceback
from pathlib import Path
from typing import Any

from forecast.dashboards.app.server import serve
from forecast.dashboards.app.sources import Sources


class Short(logging.Formatter):
    """One line for a fault: where it was raised, and what it says; all of it with FORECAST_TRACEBACK=1."""

    def formatException(self, ei: Any) -> str:
        if os.environ.get("FORECAST_TRACEBACK") == "1":
            return super().formatException(ei)
        frame = traceback.extract_tb(ei[2])[-1]
        said = " ".join(str(ei[1]).split())
        return f"  {Path(frame.filename).name} line {frame.lineno}: {ei[0].__name__}: {said}"


def main() -> None:
    """Serve as the words of the command line say."""
    parser = argparse.ArgumentParser(prog="python -m forecast.dashboards.app")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8050)
    parser.add_argument("--hosts", action="append", default=[])
    parser.add_argument("--mlflow")
    parser.add_argument("--stream")
    parser.add_argument("--jobs", type=Path, action="append", default=[])
    asked = parser.parse_args()
    handler = logging.StreamHandler()
    handler.setFormatter(Short("forecast ui: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    found = Sources(asked.runs, asked.mlflow, asked.stream, tuple(asked.jobs))
    serve(found, asked.host, asked.port, asked.hosts, os.environ.get("FORECAST_UI_TOKEN") or None)


if __name__ == "__main__":
    main()
