"""Kills and full disks by the hundred (`make soak`): no good checkpoint is lost, no resumed training differs."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from forecast.artifacts import LAST_CHECKPOINT
from forecast.errors import RunError
from forecast.tasks.checkpoint import AtomicCheckpoints
from tests.verbs.conftest import command
from tests.verbs.killing import STEPS, WORDS, kept, kill_after, outcome, start

KILLS, FULL, POINTS = 200, 20, 12


def state(step: int, size: int = 250_000) -> dict:
    return {"global_step": step, "x": torch.full((size,), float(step))}


def saver(path: Path, first: int, told: int) -> None:
    """Save checkpoints without end and tell the number of each that is done. In a forked process."""
    torch.set_num_threads(1)
    writer, step = AtomicCheckpoints(), first
    while True:
        writer.save_checkpoint(state(step), path)
        os.write(told, step.to_bytes(8, "little"))
        step += 1


def test_kills_while_a_checkpoint_is_written(tmp_path):
    """After each kill the file is whole, and it is the last one that was said to be done, or the next."""
    path, draw, last = tmp_path / "last.ckpt", random.Random(0), 0
    for _ in range(KILLS):
        out, told = os.pipe()
        child = os.fork()
        if not child:
            saver(path, last + 1, told)
        os.close(told)
        time.sleep(draw.uniform(0.005, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(out, "rb") as pipe:
            said = pipe.read()
        acknowledged = int.from_bytes(said[-8:], "little") if said else last
        if not path.is_file():
            assert not acknowledged
            continue
        found = AtomicCheckpoints().load_checkpoint(path)
        assert found["global_step"] in (acknowledged, acknowledged + 1)
        assert (found["x"] == found["global_step"]).all()
        last = found["global_step"]
    assert last > KILLS // 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB. Needs root; says so where it cannot be had."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disks_while_a_checkpoint_is_written(small_disk):
    """The disk is filled so that the next checkpoint ends at 20 different places; the one before it stays."""
    writer, path, filler = AtomicCheckpoints(), small_disk / "last.ckpt", small_disk / "filler"
    writer.save_checkpoint(state(0), path)  # 1 MB
    for i in range(1, FULL + 1):
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(b"\0" * (room - i * 48_000))
        with pytest.raises(RunError, match=r"last.ckpt cannot be written: No space left on device; .* was kept"):
            writer.save_checkpoint(state(i), path)
        assert writer.load_checkpoint(path)["global_step"] == i - 1
        assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "last.ckpt"]
        filler.unlink()
        writer.save_checkpoint(state(i), path)
        assert writer.load_checkpoint(path)["global_step"] == i


def test_a_training_on_a_disk_that_fills_up_goes_on_later(small_disk, tmp_path):
    """One line, exit code 5; with room again it ends as a training that never met the fault."""
    command("train", *WORDS, cwd=tmp_path)
    (expected,) = (tmp_path / "runs" / "train").iterdir()
    process = start(*WORDS, f"runs={small_disk}", cwd=tmp_path)
    while not list(small_disk.glob(f"train/*/{LAST_CHECKPOINT}")):
        assert process.poll() is None
        time.sleep(0.01)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    _, said = process.communicate(timeout=120)
    assert process.returncode == 5, said
    faults = [line for line in said.splitlines() if line.startswith("forecast: ")]
    assert len(faults) == 1 and "No space left on device" in faults[0], said
    assert "Traceback" not in said and "Logging error" not in said
    filler.unlink()
    command("train", "resume=latest", f"runs={small_disk}", cwd=tmp_path)
    (run,) = (small_disk / "train").iterdir()
    assert outcome(run) == outcome(expected)


def test_a_full_tmpdir_is_no_matter(small_disk, tmp_path):
    room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"\0" * room)
    command("train", *WORDS, "trainer.max_epochs=1", cwd=tmp_path, TMPDIR=str(small_disk))
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert (run / "MANIFEST.json").is_file()
    assert [p.name for p in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("workers", [0, 2])
def test_kills_of_a_training_at_twelve_points(tmp_path, workers):
    words = [*WORDS, f"data.workers={workers}"]
    (tmp_path / "whole").mkdir()
    command("train", *words, cwd=tmp_path / "whole")
    (expected,) = (tmp_path / "whole" / "runs" / "train").iterdir()
    reached = set()
    for point in range(POINTS):
        folder = tmp_path / str(point)
        folder.mkdir()
        run = kill_after(start(*words, cwd=folder), folder, 1 + point * (STEPS - 15) // (POINTS - 1))
        reached.add(kept(run / LAST_CHECKPOINT))
        command("train", "resume=latest", cwd=folder)
        assert outcome(run) == outcome(expected), point
    assert len(reached) == POINTS
