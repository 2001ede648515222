"""One thread per test process: small tensors gain nothing from more, and results do not depend on the machine."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)  # the suite times nothing: a busy machine is no fault
settings.load_profile("suite")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it as it is first imported, by torch's compiler in another test
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a job in the background begins, and what it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of benchmark files; tests that need it are skipped where it is absent."""
    root = os.environ.get("FORECAST_DATA") or Path(__file__).parents[2] / "shared" / "data" / "bench"
    if not Path(root).is_dir():
        pytest.skip("no benchmark data here; set FORECAST_DATA")
    return Path(root)
