"""forecast ui: MLflow on loopback, its faults in one line, and a clean end."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
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


def told(child: "subprocess.Popen[str]", *words: str) -> list[str]:
    """Lines of its output until each of the words has stood in one."""
    assert child.stdout is not None
    lines: list[str] = []
    while not all(any(word in line for line in lines) for word in words):
        line = child.stdout.readline()
        assert line, lines
        lines.append(line)
    return lines


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return bytes(reply.read())


def children(child: "subprocess.Popen[str]") -> dict[str, psutil.Process]:
    """The two servers by name."""
    found = psutil.Process(child.pid).children()
    return {"MLflow" if "mlflow" in each.cmdline() else "dashboard": each for each in found}


def test_both_are_served_on_loopback_until_they_are_told_to_stop(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("pragma user_version = 1")
    store.close()
    port, beside = free_port(), free_port()
    child = start("--port", str(port), "--mlflow-port", str(beside), cwd=tmp_path)
    lines = told(child, "the dashboard is at", "MLflow is at")
    assert f"forecast ui: the dashboard is at http://127.0.0.1:{port}\n" in lines
    assert f"forecast ui: MLflow is at http://127.0.0.1:{beside}/#/experiments?workflowType=machine_learning\n" in lines
    assert read(f"http://127.0.0.1:{beside}/health") == b"OK"
    assert b"<title>forecast</title>" in read(f"http://127.0.0.1:{port}/")
    children(child)["MLflow"].kill()  # the dashboard does not mind
    assert child.stderr is not None
    assert child.stderr.readline().startswith("forecast ui: MLflow was killed; ")
    assert b"<title>forecast</title>" in read(f"http://127.0.0.1:{port}/")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "forecast ui: stopped\n", "")
    for each in (port, beside):
        assert ui.bind_fault(socket.AF_INET, "127.0.0.1", each) is None  # nobody listens there any more
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_without_a_store_the_dashboard_starts_alone(tmp_path: Path) -> None:
    port = free_port()
    child = start("--port", str(port), cwd=tmp_path)
    lines = told(child, "the dashboard is at")
    assert lines[0].startswith("forecast ui: no mlflow.db here, so MLflow is left out")
    assert list(children(child)) == ["dashboard"]
    children(child)["dashboard"].kill()  # and with it all ends
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (5, "")
    assert one_line(err) == "forecast: the dashboard was killed; start forecast ui again\n"


def test_from_other_machines_it_asks_for_a_token(tmp_path: Path) -> None:
    port = free_port()
    child = start("--port", str(port), "--host", "0.0.0.0", cwd=tmp_path)
    token = told(child, "the dashboard is at")[-1].partition("/?token=")[2].strip()
    assert len(token) >= 32
    with pytest.raises(urllib.error.HTTPError, match="401"):
        read(f"http://127.0.0.1:{port}/")
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=10) as reply:
        assert reply.status == 200
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "forecast ui: stopped\n", "")


def test_ui_without_the_store_that_was_named(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--store", "other.db")
    assert code == 4
    assert f"{tmp_path / 'other.db'} is not there" in one_line(err)
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
    "words",
    [
        ["--port", "x"],
        ["--port", "0"],
        ["port=3"],
        ["--prot", "3"],
        ["--host", "no such"],
        ["--mlflow-port", "8050"],
        ["--jobs", "nowhere"],
        ["--runs", "nowhere"],
        ["--stream", "localhost:8000"],
    ],
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
    monkeypatch.setattr(ui, "dashboard", lambda args, _: ui.mlflow(args, tmp_path / "mlflow.db"))  # both give up
    code, _, err = run("--port", str(free_port()), "--mlflow-port", str(free_port()))
    assert code == 5
    assert err.startswith("forecast ui: MLflow ended with code 3; Error: an old schema; MLflow goes on\n")
    assert err.endswith("forecast: MLflow ended with code 3; Error: an old schema; start forecast ui again\n")


def test_a_short_token_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.TOKEN, "short")
    code, _, err = run("--host", "0.0.0.0", "--port", str(free_port()))
    assert code == 2
    assert "FORECAST_UI_TOKEN has 5 signs" in one_line(err)
