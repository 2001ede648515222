"""A training that was killed goes on and ends as if nothing had happened (tests/soak kills it at 24 points)."""

import json

import pytest

from tests.verbs.conftest import command
from tests.verbs.killing import EPOCHS, STEPS, WORDS, kill_after, outcome, start


def test_a_kill_within_an_epoch_costs_nothing(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    command("train", *WORDS, cwd=whole)
    (expected,) = (whole / "runs" / "train").iterdir()
    run = kill_after(start(*WORDS, cwd=parts), parts, 80)
    (run / "checkpoints" / ".last.ckpt.1.tmp").write_bytes(b"half a checkpoint")
    assert not (run / "model.safetensors").exists()
    done = command("train", "resume=latest", cwd=parts)
    assert outcome(run) == outcome(expected)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["steps"]) == (EPOCHS, STEPS)
    assert metrics["rows"] == json.loads((expected / "metrics.json").read_text())["rows"]
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert done.stderr.count("epoch   2/3") == 1
    assert "epoch   1/3" not in done.stderr
    assert "resuming from a checkpoint" not in done.stderr


@pytest.mark.long
def test_a_run_that_was_killed_while_it_was_scored(tmp_path):
    """Nothing is left to train: a resume scores it and finishes the folder."""
    command("train", *WORDS, "trainer.max_epochs=1", cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "train").iterdir()
    before = outcome(run)
    for name in ("MANIFEST.json", "metrics.json", "report.html", "model.safetensors"):
        (run / name).unlink()
    command("train", "resume=latest", cwd=tmp_path)
    assert outcome(run) == before
    command("evaluate", "run=latest", cwd=tmp_path)
