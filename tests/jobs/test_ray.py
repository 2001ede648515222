"""engine=ray for real: a cluster of two cores on this machine, what it writes, and what happens as its parts die."""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
import psutil
import pytest

from forecast import __version__
from forecast.artifacts import Run
from forecast.errors import DataError, RunError, UsageError
from forecast.inference.frame import Asked, forecast_frame, load
from forecast.jobs.cluster import OBJECTS, cluster, fitting
from forecast.jobs.device import moved, on_card
from forecast.jobs.driver import TRIES, Tries, Worker, quiet
from forecast.jobs.ray import Ray, predict_dataset
from forecast.jobs.types import Job, Piece, Shard
from forecast.ledger import SUCCESS
from tests.jobs.made import class_table, contents, event_table, names, started, table
from tests.jobs.test_job import batch, run_job
from tests.verbs.conftest import REPO

ACTOR = "ray::MapWorker"
# Who may join, and how long a process of Ray looks for a head that is lost: 60 s by itself.
TOLD = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


@pytest.fixture(scope="module")
def ray():
    """A cluster of two cores, of which this process is a driver too."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        before = dict(os.environ)
        os.environ["PYTHONPATH"] = str(REPO)  # what processes of Ray find, in any directory
        try:
            with cluster(None, 2, Path(folder)) as module:
                quiet(module)
                yield module
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def address(ray) -> str:
    return ray.get_runtime_context().gcs_address


def actors(above: int | None = None) -> list[psutil.Process]:
    """Processes that work on shards, of the cluster that a process (None: this one) has started."""
    found = []
    for one in psutil.Process(above).children(recursive=True):
        try:
            if one.cmdline()[:1] and one.cmdline()[0].startswith(ACTOR):
                found.append(one)
        except psutil.Error:
            continue
    return found


def expected(series, source, folder) -> dict[str, bytes]:
    """What the engine of this machine writes."""
    run_job(series, source, folder)
    return contents(folder)


def by_ray(series, source, folder, engine, between=lambda done: None):
    """The facts of a job; `between` is called with each shard that is done."""
    made = batch(series, source, folder)
    try:
        work = made.begin()
        done = []
        for one in made.run(work, engine):
            done.append(one)
            between(done)
        return made.finish(work, done)
    finally:
        made.close()


def test_a_worker_is_killed_and_the_bytes_are_those_of_the_local_engine(series, tmp_path, ray, address) -> None:
    frame = table(names(600), 40)
    frame.write_parquet(tmp_path / "in.parquet")
    killed: list[int] = []

    def kill(done) -> None:
        if not killed:
            victim = actors()[0]
            victim.kill()
            killed.append(victim.pid)

    facts = by_ray(series, tmp_path / "in.parquet", tmp_path / "out", Ray(address, actors=2), kill)
    assert killed and facts["status"] == {"forecast": 600}
    assert (tmp_path / "out" / SUCCESS).is_file()
    assert contents(tmp_path / "out") == expected(series, tmp_path / "in.parquet", tmp_path / "local")
    sizes = [node["Resources"]["object_store_memory"] for node in ray.nodes()]
    assert sizes == [OBJECTS]


def test_a_ray_dataset_of_whole_series_becomes_one_of_forecasts(series, ray) -> None:
    frame = pl.concat([table(names(40), 30), table(["short"], 3)])
    blocks = [part.to_arrow() for part in (frame[:600], frame[600:])]
    asked = Asked(levels=(0.1, 0.5))
    made = predict_dataset(ray.data.from_arrow(blocks), series, asked)
    found = pl.concat(pl.from_arrow(ray.get(block)) for block in made.to_arrow_refs())
    whole = forecast_frame(frame, load(Run(series)), asked)
    keys = ["unique_id", "step"]
    assert found.sort(keys).equals(whole.sort(keys))
    assert set(found["status"]) == {"forecast", "quarantined"}


def test_a_shard_is_given_up_after_the_third_time_that_it_was_begun(series, tmp_path, ray) -> None:
    tries = ray.remote(num_cpus=0)(Tries).remote()
    shard = Shard(7, "k", (Piece(str(tmp_path / "in.parquet")),), 1, 1)
    assert [ray.get(tries.begin.remote(7)) for _ in range(TRIES)] == [0, 1, 2]
    kind, (name, *words) = Worker(Job(run=str(series), output=str(tmp_path)), tries, __version__).said(shard)
    assert (kind, name) == ("fault", "RunError")
    assert str(RunError(*words)).startswith("shard 7 ended its actor 3 times; expected it to be done; memory may be")
    assert str(tmp_path / "in.parquet") in words[-1]
    kind, (name, *words) = Worker(Job(run="", output=""), tries, "0.0").said(shard)
    assert (name, words[1]) == ("UsageError", "expected 0.0, which began the job")
    ray.kill(tries)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"actors": 0}, "engine.actors is 0; expected at least 1"),
        ({"cpus": -1.0}, "engine.cpus is -1; expected 0 or more"),
        ({"cpus": 0.0}, "engine.cpus=0 without engine.gpus; expected a share of a core for each actor"),
    ],
)
def test_settings_that_mean_nothing_are_refused(words, line) -> None:
    with pytest.raises(UsageError, match=f"^{line}"):
        Ray(**words)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", "no Ray cluster at engine.address=127.0.0.1:1: .*refused; expected one that runs, .*ray start"),
        ("ray://here:10001", "engine.address is ray://here:10001; ray:// is for clients outside of a cluster"),
        ("here", "engine.address is here; expected auto or HOST:PORT, as ray start has told"),
        ("here:99999", "engine.address is here:99999; expected auto or HOST:PORT"),
    ],
)
def test_an_address_that_is_not_there(series, tmp_path, address, line) -> None:
    table(names(3)).write_parquet(tmp_path / "in.parquet")
    with (
        pytest.raises(UsageError, match=f"^{line}"),
        cluster(address, 1, tmp_path),
    ):
        raise AssertionError("there is no cluster")


def test_as_many_actors_as_machines_hold() -> None:
    machines = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0}, {"memory": 1.0}]
    assert fitting(machines, 1.0, 0.0) == 7
    assert fitting(machines, 2.0, 0.0) == 3
    assert fitting(machines, 0.1, 0.0) == 70
    assert fitting(machines, 1.0, 0.25) == 4
    with pytest.raises(UsageError, match="^engine.cpus=1 engine.gpus=2 is more than a machine has; the largest has 4 "):
        fitting(machines, 1.0, 2.0)


def test_without_ray_it_is_told_what_to_install(series, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "hide = lambda cls, name, *words: None if name == 'ray' else find(name, *words)\n"
        "PathFinder.find_spec = classmethod(hide)\n"
    )
    table(names(3)).write_parquet(tmp_path / "in.parquet")
    words = [f"run={series}", "input=in.parquet", f"output={tmp_path / 'out'}", "engine=ray"]
    process = started(*words, cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPO}")
    _, said = process.communicate(timeout=120)
    line = "forecast: engine=ray needs ray, which is not installed; pip install 'longcast[ray]'\n"
    assert (process.returncode, said) == (2, line)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["series", "events", "classes"])
def test_a_chain_on_another_device_gives_the_same(kind, request, monkeypatch) -> None:
    """The other device is the CPU too; that a card agrees with a CPU is shown in tests/kernels."""
    run = Run(request.getfixturevalue(kind))
    frame = {"series": table, "events": event_table, "classes": class_table}[kind]()
    assert forecast_frame(frame, moved(load(run), "cpu")).equals(forecast_frame(frame, load(run)))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RunError, match="^torch sees no GPU in an actor that has one; expected CUDA; leave engine.gpus"):
        on_card(load(run))


@pytest.mark.long
def test_the_command_says_nothing_of_ray_and_leaves_nothing(series, tmp_path) -> None:
    table(names(60), 30).write_parquet(tmp_path / "in.parquet")
    before = set(Path("/tmp").iterdir())
    words = [f"run={series}", "input=in.parquet", "output=out", "engine=ray", "engine.actors=2", "shard_rows=300"]
    process = started(*words, cwd=tmp_path)
    told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert [line.partition("/")[0] for line in said.splitlines()] == [
        f"shard {n}" for n in range(1, said.count("\n") + 1)
    ]
    assert told.startswith(f"{tmp_path / 'out'}: 60 series by linear: 60 forecast; ") and told.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out"}
    assert not [path for path in set(Path("/tmp").iterdir()) - before if path.name.startswith("ray-")]


@pytest.mark.long
def test_a_driver_is_killed_its_cluster_ends_and_the_job_goes_on(series, tmp_path) -> None:
    table(names(3000), 30).write_parquet(tmp_path / "in.parquet")
    words = [f"run={series}", "input=in.parquet", "output=out", "engine=ray", "engine.actors=2", "shard_rows=300"]
    process = started(*words, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "out").glob("part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(below, timeout=60)
    assert not alive and not (tmp_path / "out" / SUCCESS).exists()
    process = started(*words, cwd=tmp_path)
    told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    process = started(*words[:2], "output=local", "shard_rows=300", cwd=tmp_path)
    process.communicate(timeout=300)
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


@pytest.mark.long
def test_a_shard_whose_actors_die_again_and_again_ends_the_job(series, tmp_path, ray, address) -> None:
    table(names(3), 30).write_parquet(tmp_path / "in.parquet")
    made = batch(series, tmp_path / "in.parquet", tmp_path / "out")
    work = made.begin()
    (tmp_path / "in.parquet").unlink()
    os.mkfifo(tmp_path / "in.parquet")  # who reads it waits
    seen: set[int] = set()

    def kill() -> None:
        while len(seen) < TRIES:
            for one in actors():
                used = sum(one.cpu_times()[:2])
                time.sleep(3)
                if one.is_running() and one.pid not in seen and used > 2 and sum(one.cpu_times()[:2]) - used < 0.1:
                    seen.add(one.pid)
                    one.kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        with pytest.raises(RunError, match=r"^shard 0 ended its actor 3 times; expected it to be done"):
            list(made.run(work, Ray(address, actors=1)))
    finally:
        made.close()


@contextmanager
def machines(count: int):
    """A cluster of so many machines of a core each, as `ray start` makes it: its address, and a process group for each,
    the head's first; they are killed in the end."""
    port, env = 20_000 + os.getpid() % 10_000, {**os.environ, "PYTHONPATH": str(REPO), **TOLD}
    began = []

    def start(*words: str) -> None:
        line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1",
                "--disable-usage-stats", f"--object-store-memory={OBJECTS}", *words]  # fmt: skip
        one = subprocess.Popen(line, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        began.append(one)
        for said in iter(one.stdout.readline, b""):
            if b"--block" in said:
                return
        raise AssertionError("ray start has ended")

    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            start("--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false")
            for _ in range(count - 1):
                start(f"--address=127.0.0.1:{port}")
            yield f"127.0.0.1:{port}", began
        finally:
            for one in began:
                lose(one)


def lose(one) -> None:
    """Kill all processes of a machine at once."""
    with suppress(ProcessLookupError, psutil.Error):
        below = psutil.Process(one.pid).children(recursive=True)
        for each in [*below, one]:
            each.kill()
    one.wait()
    one.stdout.close()


def on_cluster(series, folder, address: str, between):
    """A job of many shards by the command, on a cluster; `between` is called when two of them are done."""
    table(names(6000), 30).write_parquet(folder / "in.parquet")
    words = [f"run={series}", "input=in.parquet", "output=out", "engine=ray", f"engine.address={address}",
             "shard_rows=600"]  # fmt: skip
    process = started(*words, cwd=folder, **TOLD)
    while process.poll() is None and len(list((folder / "out").glob("part-*"))) < 2:
        time.sleep(0.02)
    between()
    _, said = process.communicate(timeout=400)
    assert "Traceback" not in said
    return process.returncode, said.splitlines()


@pytest.mark.long
def test_a_machine_is_lost_and_the_others_do_its_shards(series, tmp_path) -> None:
    with machines(2) as (address, (_, other)):
        code, said = on_cluster(series, tmp_path, address, lambda: lose(other))
    assert code == 0, said
    assert contents(tmp_path / "out") == local_parts(series, tmp_path)


@pytest.mark.long
def test_a_cluster_that_is_lost_ends_the_job_with_one_line(series, tmp_path) -> None:
    with machines(1) as (address, (head,)):
        code, said = on_cluster(series, tmp_path, address, lambda: lose(head))
    assert code == 5 and "run the same command again" in said[-1], said
    assert said[-1].startswith(("forecast: the driver of Ray has ended (", "forecast: Ray gave up: "))
    told = ("shard ", "series stand in several files")  # the job's own lines, none of Ray's
    assert [line for line in said[:-1] if not line.startswith(told)] == []


def local_parts(series, folder) -> dict[str, bytes]:
    """What the engine of this machine makes of the same command."""
    words = [f"run={series}", "input=in.parquet", "output=local", "shard_rows=600"]
    _, said = started(*words, cwd=folder).communicate(timeout=300)
    return contents(folder / "local")


@pytest.mark.long
def test_on_bad_error_ends_the_job_and_a_job_that_is_left_ends_its_actors(series, tmp_path, ray, address) -> None:
    pl.concat([table(names(600), 40), table(["short"], 2)]).write_parquet(tmp_path / "in.parquet")
    made = batch(series, tmp_path / "in.parquet", tmp_path / "out", on_bad="error")
    with pytest.raises(DataError, match="short"):
        list(made.run(made.begin(), Ray(address, actors=2)))
    made.close()
    made = batch(series, tmp_path / "in.parquet", tmp_path / "left")
    run = made.run(made.begin(), Ray(address, actors=2))
    next(run)
    run.close()
    made.close()
    deadline = time.monotonic() + 30
    while actors() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not actors()
