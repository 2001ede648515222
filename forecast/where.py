"""Where things stand: the package's own folders, the start directory, the run folders."""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONF = (PACKAGE / "conf").resolve()
DATASETS = (PACKAGE / "datasets").resolve()
RUNS = "runs"


def data_root() -> Path | None:
    """The user's folder of data files, from FORECAST_DATA; None when it is not set."""
    root = os.environ.get("FORECAST_DATA")
    return Path(root).expanduser() if root else None


def new_run_name() -> str:
    """A folder name that sorts by time and never collides, without characters that Windows refuses."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
