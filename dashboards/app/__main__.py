"""One dashboard without MLflow, to look at pages while they are built: python -m forecast.dashboards.app."""

import argparse
from pathlib import Path

import uvicorn

from forecast.dashboards.app.app import make
from forecast.dashboards.app.sources import Sources

parser = argparse.ArgumentParser(prog="python -m forecast.dashboards.app")
parser.add_argument("--runs", type=Path, default=Path("runs"))
parser.add_argument("--port", type=int, default=8050)
parser.add_argument("--stream")
asked = parser.parse_args()
uvicorn.run(
    make(Sources(asked.runs, stream=asked.stream)).server, host="127.0.0.1", port=asked.port, log_level="warning"
)
