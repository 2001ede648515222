"""One training by several processes that something else has started: torchrun, or srun, on two machines.

Both machines are this one: each has a folder of its own, and what they tell one another goes over loopback.
"""

import csv
import json
import os
import socket
import subprocess
import sys

import pytest

from forecast import ranks
from forecast.artifacts import sha256
from tests.verbs.conftest import REPO, command

SMALL = ("train", "experiment=smoke", "trainer.max_epochs=1", "trainer.limit_train_batches=4", "predictions=false",
         "data.splits={train: 1000, val: 200, test: 200}")  # fmt: skip
DDP = ("trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=4")  # a choice sets these anew
TWO = ("trainer.devices=1", "trainer.nodes=2")


def port(least: int = 20_000, most: int = 24_000) -> int:
    """A port that nobody has."""
    for number in range(least + os.getpid() % 1000, most):
        with socket.socket() as asked:
            try:
                asked.bind(("127.0.0.1", number))
                return number
            except OSError:
                continue
    raise RuntimeError("no port is free")


def together(folder, starts, *words):
    """Start `forecast WORDS` once for each of `starts`, (words before, environment); what each printed."""
    started = []
    for number, (before, env) in enumerate(starts):
        home = folder / f"machine{number}"  # a disk of its own
        home.mkdir()
        plain = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        env = {**plain, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", **env}
        started.append(
            subprocess.Popen([sys.executable, *before, "-m", "forecast", *words], cwd=home, env=env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )  # fmt: skip
    try:
        return [(process.communicate(timeout=240), process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


def torchrun(folder, *words, machines=2, each=1):
    shared = [f"--nnodes={machines}", f"--nproc-per-node={each}", "--master-addr=127.0.0.1", f"--master-port={port()}"]
    run = ["-W", "ignore::FutureWarning", "-m", "torch.distributed.run", *shared]
    return together(folder, [([*run, f"--node-rank={rank}"], {}) for rank in range(machines)], *words)


def srun(folder, *words, machines=2, name="train", **more):
    """As srun starts a process on each machine, which is to say, with these variables."""
    job = {"SLURM_JOB_ID": f"{port() - 15_000 + 970_000}", "SLURM_JOB_NAME": name, "SLURM_NTASKS": f"{machines}",
           "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": f"{machines}", "SLURM_NODELIST": "127.0.0.1,127.0.0.2",
           "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0", **more}  # fmt: skip
    each = [{**job, "SLURM_PROCID": f"{rank}", "SLURM_NODEID": f"{rank}"} for rank in range(machines)]
    return together(folder, [([], env) for env in each], *words)


def one_run(folder, said):
    """The only folder of a run below `folder`, in the directory of the first machine; nobody else has written."""
    assert [code for _, code in said] == [0, 0], said
    (_, first), (_, other) = (streams for streams, _ in said)
    assert first.count("test windows, each scored once") == 1
    assert "Warning" not in first and other == ""
    (run,) = folder.glob("machine*/runs/*/*")
    assert [path.name for path in folder.glob("machine*/*")] == ["runs"]
    assert run.parent == folder / "machine0" / "runs" / "train"
    assert json.loads((run / "metrics.json").read_text())["steps"] == 4
    return run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training by two processes of one machine, which Lightning starts."""
    folder = tmp_path_factory.mktemp("alone")
    done = command(*SMALL, *DDP, cwd=folder, fresh=True)
    (run,) = (folder / "runs" / "train").iterdir()
    assert {p.name for p in folder.iterdir()} == {"runs"}
    assert "Warning" not in done.stderr
    assert done.stderr.count("test windows, each scored once") == 1
    return run


def test_two_processes_train_one_run(alone):
    metrics = json.loads((alone / "metrics.json").read_text())
    assert metrics["steps"] == 4
    with open(alone / "history.csv", newline="") as file:
        names = [(row["step"], row["name"]) for row in csv.DictReader(file)]
    assert len(names) == len(set(names))  # written by one of them


def test_torchrun_on_two_machines_makes_the_run_that_one_makes(alone, tmp_path):
    run = one_run(tmp_path, torchrun(tmp_path, *SMALL, *TWO))
    assert sha256(run / "model.safetensors") == sha256(alone / "model.safetensors")


@pytest.mark.long
def test_srun_on_two_machines_makes_the_run_that_one_makes(alone, tmp_path):
    run = one_run(tmp_path, srun(tmp_path, *SMALL, *TWO))
    assert sha256(run / "model.safetensors") == sha256(alone / "model.safetensors")


@pytest.mark.long
def test_four_processes_of_two_machines_go_on_from_a_shared_folder(tmp_path):
    for part, words in (("first", ()), ("then", ("resume=latest", "trainer.max_epochs=2"))):
        (tmp_path / part).mkdir()
        asked = SMALL if not words else ("train", *words)
        said = torchrun(
            tmp_path / part, *asked, "trainer.devices=2", "trainer.nodes=2", f"runs={tmp_path / 'runs'}", each=2
        )
        assert [code for _, code in said] == [0, 0], said
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert json.loads((run / "metrics.json").read_text())["steps"] == 8
    assert len(json.loads((run / "resumes.json").read_text())) == 1


@pytest.mark.long
def test_srun_with_one_process_is_a_training_like_any(tmp_path):
    (((_, said), code),) = srun(tmp_path, *SMALL, machines=1)
    assert code == 0 and "Warning" not in said, said
    assert len(list(tmp_path.glob("machine0/runs/train/*/MANIFEST.json"))) == 1


@pytest.mark.long
def test_a_shell_that_srun_started_starts_its_own_processes(tmp_path):
    (((_, said), code),) = srun(tmp_path, *SMALL, *DDP, machines=1, name="bash")
    assert code == 0, said
    assert len(list(tmp_path.glob("machine0/runs/train/*/MANIFEST.json"))) == 1


def test_the_first_process_is_the_one_that_lightning_takes(monkeypatch):
    from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    for name in [name for name in os.environ if name.startswith("SLURM_")] + ["LOCAL_RANK", "TORCHELASTIC_RUN_ID"]:
        monkeypatch.delenv(name, raising=False)
    assert ranks.placed() is None and ranks.first()
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Lightning starts its second
    assert ranks.placed() is None and not ranks.first()
    job = {"SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_NTASKS_PER_NODE": "2"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert ranks.placed() is None and not SLURMEnvironment.detect()
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    slurm = SLURMEnvironment()
    assert ranks.placed() == ("srun", slurm.global_rank(), slurm.world_size(), None) and not ranks.first()
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    elastic = TorchElasticEnvironment()
    assert ranks.placed() == ("torchrun", elastic.global_rank(), elastic.world_size(), None) and ranks.first()
