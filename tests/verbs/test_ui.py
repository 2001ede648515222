"""forecast ui: MLflow on loopback, its faults in one line, and a clean end."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import forecast
from forecast import __main__ as program
from forecast.verbs import ui

ROOT = Path(forecast.__file__).resolve().parents[1]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`forecast ui` in this process, in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forecast", "ui", *words])
        code = program.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def start(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "forecast", "ui", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_line(err: str) -> str:
    assert err.startswith("forecast: ")
    assert err.count("\n") == 1
    return err


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def test_ui_serves_on_loopback_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("pragma user_version = 1")
    store.close()
    port = free_port()
    child = start("--port", str(port), cwd=tmp_path)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(3)]
    assert f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning\n" in lines[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as reply:
        assert reply.read() == b"OK"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "forecast ui: stopped\n", "")
    assert ui.bind_fault(socket.AF_INET, "127.0.0.1", port) is None  # nobody listens there any more
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_ui_without_a_store(run: Run, tmp_path: Path) -> None:
    code, _, err = run()
    assert code == 4
    assert f"{tmp_path / 'mlflow.db'} is not there" in one_line(err)
    (tmp_path / "mlflow.db").write_text("no database")
    code, _, err = run()
    assert code == 4
    assert "is no SQLite database" in one_line(err)


def test_ui_refuses_a_taken_port(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(ui.SQLITE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run("--port", str(port))
    assert code == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in one_line(err)
    assert "e.g. --port" in err


@pytest.mark.parametrize(
    "words", [["--port", "x"], ["--port", "0"], ["port=3"], ["--prot", "3"], ["--host", "no such"]]
)
def test_ui_usage(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "mlflow.db").write_bytes(ui.SQLITE)
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    one_line(err)


def test_ui_says_why_mlflow_gave_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow").mkdir()
    text = "print('Error: an old schema')\nprint('bye')\nraise SystemExit(3)\n"
    (tmp_path / "mlflow" / "__init__.py").touch()
    (tmp_path / "mlflow" / "__main__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(ui.SQLITE)
    code, _, err = run("--port", str(free_port()))
    assert code == 5
    assert "mlflow server ended with code 3; Error: an old schema; see mlflow server --help" in one_line(err)
