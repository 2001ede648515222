"""Tracking in trouble: servers that are dead, silent, slow or killed cost no training and no metrics.

The servers are real: `mlflow server` on loopback, sockets that never answer, a database that another process holds.
"""

import csv
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from forecast import __main__ as program
from forecast import artifacts, spool, track
from forecast.errors import ArtifactError, UsageError

ROOT = Path(__file__).parents[1]
Run = Callable[..., tuple[int, str, str]]
SMALL = ["experiment=smoke", "model=linear", "predictions=false", "data.splits={train: 1000, val: 200, test: 200}"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Server:
    """`mlflow server` with its database and files in a folder; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words], cwd=self.folder, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**ENV, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
        wait(lambda: not spool.trouble(self.uri, 5), 300)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def wait(until: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The program in this process, in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("FORECAST_RUN_DIR", "")
    monkeypatch.delenv("FORECAST_TRACEBACK", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forecast", *words])
        code = program.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def only(folder: Path) -> Path:
    (found,) = (folder / "runs" / "train").iterdir()
    return found


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def history(folder: Path) -> Counter[tuple[str, int, float]]:
    with open(folder / "history.csv", newline="") as file:
        return Counter((row["name"], int(row["step"]), float(row["value"])) for row in csv.DictReader(file))


def in_mlflow(uri: str, folder: Path) -> tuple[Any, Counter[tuple[str, int, float]]]:
    """The MLflow run of a run folder, and its metrics but for the scores."""
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    (found,) = client.search_runs(experiments, f"tags.`forecast.run` = '{folder.name}'")
    names = [name for name in found.data.metrics if not name.startswith(("test", "system"))]
    rows = [each for name in names for each in client.get_metric_history(found.info.run_id, name)]
    return found, Counter((each.key, each.step, each.value) for each in rows)


# The journal -------------------------------------------------------------------------------------------------


def test_a_torn_line_is_passed_over_and_mended(tmp_path: Path) -> None:
    journal = spool.Journal(tmp_path)
    journal.append("log", rows=[["a", 1.5, 1]])
    journal.append("end", status="FINISHED")
    journal.close()
    whole = (tmp_path / "mlflow.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):  # killed at any byte of the second line
        (tmp_path / "mlflow.jsonl").write_bytes(whole[:cut])
        assert [line["do"] for _, line in spool.lines(tmp_path)] == ["log"]
        journal = spool.Journal(tmp_path)
        journal.append("resume")
        journal.close()
        assert [line["do"] for _, line in spool.lines(tmp_path)] == ["log", "resume"]
    ends = [end for end, _ in spool.lines(tmp_path)]
    assert [line["do"] for _, line in spool.lines(tmp_path, ends[0])] == ["resume"]
    assert ends[-1] == (tmp_path / "mlflow.jsonl").stat().st_size


def test_one_process_writes_and_one_sends(tmp_path: Path) -> None:
    journal = spool.Journal(tmp_path)
    assert spool.writing(tmp_path)
    journal.close()
    assert not spool.writing(tmp_path)
    with spool.sending(tmp_path) as first, spool.sending(tmp_path) as second:
        assert (first, second) == (True, False)
    with spool.sending(tmp_path) as again:
        assert again


def test_what_was_sent_is_kept_for_each_store(tmp_path: Path) -> None:
    for uri, offset in (("sqlite:////a.db", 5), ("http://b", 7), ("sqlite:////a.db", 9)):
        sent = spool.Sent(tmp_path, uri)
        sent.run_id, sent.offset = uri, offset
        sent.save()
    assert spool.Sent(tmp_path, "sqlite:////a.db").offset == 9
    assert spool.Sent(tmp_path, "http://b").run_id == "http://b"
    assert spool.Sent(tmp_path, "http://c").run_id == ""
    (tmp_path / "mlflow.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged; delete it"):
        spool.Sent(tmp_path, "http://b")


def test_a_full_disk_ends_the_tracking_and_not_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = track.MLflowTracker(uri="http://127.0.0.1:9")
    tracker.journal = spool.Journal(tmp_path)
    tracker.journal.file.close()
    tracker.journal.file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    tracker.log([(1, 0, "a", 1.0, 0.0)])
    tracker.log([(2, 0, "a", 1.0, 0.0)])
    assert [line.getMessage() for line in caplog.records] == [
        "MLflow: the journal cannot be written ([Errno 28] No space left on device); this run is tracked no further"
    ]


@pytest.mark.parametrize(("word", "said"), [
    ({"wait": "long"}, "track.wait is 'long'; expected seconds"), ({"wait": -1}, "track.wait is -1"),
    ({"system": "yes"}, "expected true or false"), ({"uri": 5}, "expected an address"),
])  # fmt: skip
def test_a_wrong_value_is_said_before_training(word: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        track.make_tracker({"uri": "sqlite:///mlflow.db", **word})


# Servers in trouble ------------------------------------------------------------------------------------------


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that does `answer` with each connection; its address."""
    kept = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def serve() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return
                threading.Thread(target=answer, args=(kept[-1],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for each in kept:
        each.close()


def silent(client: socket.socket) -> None:
    """Accept, and never answer."""


def broken(client: socket.socket) -> None:
    with suppress(OSError):
        client.recv(65536)
        client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.close()


def slow(to: str) -> Callable[[socket.socket], None]:
    """A proxy that keeps every request for two seconds."""
    port = int(to.rpartition(":")[2])

    def pump(source: socket.socket, sink: socket.socket, delay: float) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(delay)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def answer(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            back = threading.Thread(target=pump, args=(upstream, client, 0), daemon=True)
            back.start()
            pump(client, upstream, 2)
            back.join(5)

    return answer


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    path = folder / "held.db"
    holder = sqlite3.connect(path)
    holder.execute("create table t (x)")
    holder.commit()
    holder.execute("begin exclusive")
    yield f"sqlite:///{path}"
    holder.close()


@pytest.fixture(scope="session")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of the small training without tracking, as a process of its own makes them."""
    home = tmp_path_factory.mktemp("untracked")
    subprocess.run([sys.executable, "-m", "forecast", "train", *SMALL], cwd=home, env=ENV, check=True,
                   capture_output=True, timeout=200)  # fmt: skip
    return weights(only(home))


@pytest.mark.parametrize(("kind", "why"), [
    ("nobody", "connection refused"), ("silent", "it does not answer"), ("broken", "it answers 500"),
    ("slow", "it does not answer"), ("locked", "database is locked"),
])  # fmt: skip
def test_a_store_in_trouble_costs_neither_time_nor_metrics(
    run: Run, server: Server, untracked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, why: str
) -> None:
    spent: list[float] = []
    before = track.MLflowTracker.finish

    def finish(*given: Any) -> None:
        began = time.monotonic()
        before(*given)
        spent.append(time.monotonic() - began)

    monkeypatch.setattr(track.MLflowTracker, "finish", finish)
    dead = f"http://127.0.0.1:{free_port()}"
    stores: dict[str, Callable[[], Any]] = {
        "nobody": lambda: nullcontext(dead), "silent": lambda: listening(silent), "broken": lambda: listening(broken),
        "slow": lambda: listening(slow(server.uri)), "locked": lambda: locked(tmp_path),
    }  # fmt: skip
    with stores[kind]() as uri:
        code, _, err = run("train", *SMALL, "track=mlflow", f"track.uri={uri}")
        assert code == 0, err
        assert spent[0] < 1.5  # under a second on a machine that does nothing else
        (line,) = [line for line in err.splitlines() if "MLflow" in line]
        folder = only(tmp_path)
        assert line == (
            f"MLflow at {uri}: {why}; what it should hear is kept with the run; "
            f"send it later: forecast sync run={folder.name}"
        )
        assert weights(folder) == untracked
        if kind in ("nobody", "locked"):
            code, out, err = run("sync", "run=latest")
            assert (code, out) == (5, "")
            assert err == f"forecast: 1 of 1 runs not sent: {uri}: {why}; it is all kept; try again later\n"
    rows = [tuple(row) for _, line in spool.lines(folder) if line["do"] == "log" for row in line["rows"]]
    assert Counter((name, step, value) for name, value, step in rows) == history(folder)
    if kind != "nobody":
        return
    folder = folder.rename(tmp_path / "moved")
    code, out, err = run("sync", f"run={folder}", f"uri={server.uri}")
    assert (code, err) == (0, "")
    assert f"files sent to {server.uri}; FINISHED" in out
    sent = (folder / "mlflow.json").read_bytes()
    assert run("sync", f"run={folder}", f"uri={server.uri}")[1].endswith("has it all\n")
    assert (folder / "mlflow.json").read_bytes() == sent


@pytest.mark.long
def test_a_killed_server_and_a_killed_training_lose_no_metric(run: Run, server: Server, tmp_path: Path) -> None:
    words = [*SMALL, "trainer.max_epochs=100000", "trainer.limit_train_batches=3", "trainer.patience=null"]
    words += ["optim.schedule=constant"]  # the cosine would know how long it is
    words += ["track=mlflow", f"track.uri={server.uri}"]
    log = tmp_path / "said"
    with open(log, "wb") as said:
        training = subprocess.Popen([sys.executable, "-m", "forecast", "train", *words], cwd=tmp_path, env=ENV,
                                    stdout=said, stderr=said)  # fmt: skip

    def acknowledged() -> int:
        return max((each["offset"] for path in tmp_path.glob("runs/train/*/mlflow.json")
                    for each in json.loads(path.read_bytes()).values()), default=0)  # fmt: skip

    try:
        wait(lambda: acknowledged() > 4000, 300)
        server.kill()
        wait(lambda: b"forecast sync" in log.read_bytes(), 300)
    finally:
        training.kill()
        training.wait()
    folder = only(tmp_path)
    assert (folder / "mlflow.jsonl").stat().st_size > acknowledged() > 4000  # some was sent, and not all
    server.start()
    wait(lambda: not run("sync")[0], 300)  # the sender of the killed training may still be at it
    found, metrics = in_mlflow(server.uri, folder)
    assert found.info.status == "KILLED"
    assert metrics == history(folder)
    epochs = len([name for name, _, _ in metrics if name == "val/mse"])
    code, _, err = run("train", "resume=latest", f"trainer.max_epochs={epochs + 2}", "track.wait=300",
                       "track.system=true")  # fmt: skip
    assert code == 0, err
    again, metrics = in_mlflow(server.uri, folder)
    assert (again.info.run_id, again.info.status) == (found.info.run_id, "FINISHED")
    assert metrics == history(folder)
    assert 0 < again.data.metrics["system/system_memory_usage_percentage"] < 100
    assert 0 <= again.data.metrics["system/cpu_utilization_percentage"] <= 100


def test_a_run_that_began_offline_becomes_one_run(run: Run, server: Server, tmp_path: Path) -> None:
    assert run("train", *SMALL, "track=mlflow", f"track.uri=http://127.0.0.1:{free_port()}")[0] == 0
    words = ["resume=latest", "trainer.max_epochs=2", f"track.uri={server.uri}", "track.wait=300"]
    code, _, err = run("train", *words)
    assert code == 0, err
    assert "MLflow" not in err
    found, metrics = in_mlflow(server.uri, only(tmp_path))
    assert found.info.status == "FINISHED"
    assert metrics == history(only(tmp_path))
    assert {step for name, step, _ in metrics if name == "val/mse"} == {5, 10}


# The verbs ---------------------------------------------------------------------------------------------------


def test_sync_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    assert run("sync")[0] == 4
    code, _, err = run("sync", "rn=x")
    assert (code, err) == (
        2,
        "forecast: rn is not a key of forecast sync; expected run, uri, runs; did you mean run or runs?\n",
    )
    code, _, err = run("sync", "latest")
    assert code == 2 and "'latest' is not KEY=VALUE" in err
    assert run("train", *SMALL)[0] == 0
    code, _, err = run("sync", f"run={only(tmp_path).name}")
    assert code == 4 and "expected a run that was trained with track=mlflow" in err
    assert run("sync", "--help")[1].count("\n  forecast ") == 5


def test_reproduce_gives_the_same_bits_and_sees_others(run: Run, tmp_path: Path) -> None:
    assert run("train", *SMALL)[0] == 0
    folder = only(tmp_path)
    code, out, err = run("reproduce", f"run={folder.name}")
    assert code == 0, err
    assert "scores are equal, to the last bit" in out
    (again,) = [path for path in folder.parent.iterdir() if path != folder]
    assert weights(again) == weights(folder)
    assert json.loads((again / "reproduces.json").read_text())["different"] == {}

    for name, edit in (("metrics.json", ("scaled", "mse", 1 + 1e-9)), ("env.json", None)):
        made = json.loads((folder / name).read_text())
        if edit:
            made["rows"][0][edit[0]][edit[1]] *= edit[2]
        else:
            made["commit"], made["threads"] = "0000", 3
        (folder / name).write_text(json.dumps(made))
    artifacts.Run(folder).seal()
    code, out, err = run("reproduce", f"run={folder}", "runs=other")
    assert code == 5
    assert "1 of 301 scores are not equal to the last bit" in out
    assert "linear scaled mse differs by 1.0e-09 of itself; expected at most tolerance=0; what differs: " in err
    assert "commit 0000 → " in err and "threads 3 → 1" in err and err.splitlines()[-1].startswith("forecast: ")
    code, out, _ = run("reproduce", f"run={folder}", "runs=other", "tolerance=1e-8")
    assert code == 0
    assert "all within 1e-08" in out


def test_reproduce_from_mlflow_alone(run: Run, server: Server, tmp_path: Path) -> None:
    import mlflow

    words = ["track=mlflow", f"track.uri={server.uri}", "track.wait=300", "runs=first"]
    code, _, err = run("train", *SMALL, *words)
    assert code == 0 and "MLflow" not in err
    (folder,) = (tmp_path / "first" / "train").iterdir()
    found = in_mlflow(server.uri, folder)[0].info.run_id
    folder.rename(tmp_path / "gone")
    code, out, err = run("reproduce", f"mlflow={found}", f"uri={server.uri}")
    assert code == 0, err
    assert f"{found} again: all 301 scores are equal, to the last bit" in out
    assert not (only(tmp_path) / "mlflow.jsonl").exists()  # it tracks nothing
    code, _, err = run("reproduce", "mlflow=0123", f"uri={server.uri}")
    assert code == 5 and "run 0123 cannot be read from" in err and err.count("\n") == 1
    for content, said in (
        ("{", f"env.json of MLflow run {found} is not JSON: "),
        ("[]", f"env.json of {found} is no JSON"),
    ):
        mlflow.MlflowClient(server.uri).log_text(found, content, "run/env.json")
        code, _, err = run("reproduce", f"mlflow={found}", f"uri={server.uri}")
        assert code == 4 and said in err and err.count("\n") == 1


def test_reproduce_refuses_other_data_and_foreign_configs(run: Run, tmp_path: Path) -> None:
    csv_file = tmp_path / "my.csv"
    rows = [f"2024-01-{d:02d} {h:02d}:00,{(d * 7 + h) % 11}" for d in range(1, 31) for h in range(24)]
    csv_file.write_text("\n".join(["ds,y", *rows]))
    words = ["experiment=smoke", "model=linear", "data=series", "data.path=my.csv"]
    assert run("train", *words)[0] == 0
    folder, kept = only(tmp_path), sorted(tmp_path.rglob("*"))
    csv_file.rename(tmp_path / "your.csv")
    code, _, err = run("reproduce", "run=latest")
    assert code == 3 and "my.csv" in err and err.count("\n") == 1
    csv_file.write_text("\n".join(["ds,y", *rows[:-1], "2024-01-30 23:00,3"]))
    code, _, err = run("reproduce", "run=latest")
    assert code == 3 and "is not the file that" in err
    csv_file.unlink()
    config = json.loads((folder / "config.json").read_text())
    for change, said in (
        ({"name": "${oc.env:HOME}"}, "expected plain values"),
        ({"model": {"_target_": "os.system"}}, "'os.system'"),
        ({"sed": 1}, "'sed'"),
        ({"data": 3}, "no data record"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        artifacts.Run(folder).seal()
        code, _, err = run("reproduce", f"run={folder}", "path=your.csv")
        assert code in (2, 4) and said in err and err.count("\n") == 1, err
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "your.csv"}
    assert len(list(folder.parent.iterdir())) == 1
    assert len(kept) >= 1


@pytest.mark.parametrize(("words", "said"), [
    ([], "neither run nor mlflow is set"), (["run=a", "mlflow=b"], "run and mlflow are both set"),
    (["run=a", "tolerance=x"], "tolerance is 'x'"), (["run=a", "tolerance=nan"], "tolerance is 'nan'"),
    (["rnu=a"], "did you mean run"),
])  # fmt: skip
def test_reproduce_usage(run: Run, words: list[str], said: str) -> None:
    code, out, err = run("reproduce", *words)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1
