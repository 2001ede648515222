"""The dashboard alone, as a process, which forecast ui starts beside MLflow: python -m forecast.dashboards.app.

The token that other machines must bring comes in FORECAST_UI_TOKEN, which no list of processes shows.
"""

import argparse
import os
from pathlib import Path

from forecast.dashboards.app.server import serve
from forecast.dashboards.app.sources import Sources

parser = argparse.ArgumentParser(prog="python -m forecast.dashboards.app")
parser.add_argument("--runs", type=Path, default=Path("runs"))
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8050)
parser.add_argument("--hosts", action="append", default=[])
parser.add_argument("--mlflow")
parser.add_argument("--stream")
parser.add_argument("--jobs", type=Path, action="append", default=[])
asked = parser.parse_args()
found = Sources(asked.runs, asked.mlflow, asked.stream, tuple(asked.jobs))
serve(found, asked.host, asked.port, asked.hosts, os.environ.get("FORECAST_UI_TOKEN") or None)
