"""The forecasting task and its trainer, in process and in small."""

import contextlib
import csv
import math
import signal

import pytest
import pytorch_lightning as pl
import torch

from forecast import build
from forecast.data.batch import batches
from forecast.data.module import SeriesModule
from forecast.errors import ArtifactError, RunError, UsageError
from forecast.tasks.base import rates
from forecast.tasks.callbacks import History
from forecast.tasks.checkpoint import AtomicCheckpoints, seal
from forecast.tasks.forecast import ForecastTask
from forecast.tasks.trainer import best_weights, fit, make_trainer, seconds, spent

SETTINGS = {
    "max_epochs": 2, "max_steps": -1, "max_time": None, "patience": 3, "accelerator": "cpu", "devices": 1,
    "strategy": "auto", "precision": "32-true", "accumulate": 1, "clip": 1.0, "deterministic": True, "val_every": 1.0,
    "limit_train_batches": 1.0, "save_every": None,
}  # fmt: skip
CONFIG = {
    "seed": 1, "norm": "instance", "task": {"loss": "mse"},
    "model": {"_target_": "forecast.models.Informer", "d_model": 8, "heads": 2, "d_ff": 8, "dropout": 0.1},
    "embed": {"_target_": "forecast.models.ValueEmbedding", "d_model": 8, "dropout": 0.1},
    "head": {"_target_": "forecast.heads.Generative", "d_model": 8, "heads": 2, "d_ff": 8, "label": 12},
    "optim": {"_target_": "torch.optim.Adam", "lr": 0.01}, "trainer": {"precision": "32-true", "clip": 1.0},
}  # fmt: skip
PLAIN = {
    "embed": {"_target_": "forecast.models.NoEmbedding"}, "head": {"_target_": "forecast.heads.Timewise"},
    "model": {"_target_": "forecast.models.Linear", "decompose": 5},
}  # fmt: skip


@pytest.fixture
def data():
    splits = {"train": 300, "val": 80, "test": 80}
    return SeriesModule(card="electricity", context=24, horizon=6, batch_size=32, splits=splits).prepare()


def task(data, *, schedule="cosine", **change):
    torch.manual_seed(0)
    chain = build.chain({**CONFIG, **change}, data.spec, masked=False)
    return ForecastTask(chain, build.optimiser({**CONFIG, **change}), schedule=schedule, seed=1, where=data.where)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("change", [
    {}, {"accumulate": 3}, {"precision": "bf16-mixed"}, {"precision": "bf16-mixed", "clip": None}, {"val_every": 0.5},
    {"clip": None}, {"max_steps": 3},
], ids=str)  # fmt: skip
def test_training_improves_the_loss_and_keeps_the_best(data, tmp_path, change):
    trainer = make_trainer({**SETTINGS, **change}, tmp_path, quiet=True)
    module = task(data, trainer={"precision": change.get("precision", "32-true"), "clip": change.get("clip", 1.0)})
    before = weights(module)
    assert math.isfinite(fit(trainer, module, data))
    assert not weights(module).equal(before)
    module.chain.load_state_dict(best_weights(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "history.csv"}


@pytest.mark.parametrize("schedule", ["constant", "halve", "plateau"])
def test_schedules_train(data, tmp_path, schedule):
    fit(make_trainer(SETTINGS, tmp_path, quiet=True), task(data, schedule=schedule), data)
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_rates():
    halve = rates("halve", warmup=0, length=lambda: (40, 10))
    assert [halve(s) for s in (0, 9, 10, 25, 39)] == [1, 1, 0.5, 0.25, 0.125]
    cosine = rates("cosine", warmup=5, length=lambda: (25, 5))
    assert [cosine(0), cosine(4), cosine(5)] == [0.2, 1.0, 1.0]
    assert cosine(15) == pytest.approx(0.5)
    assert cosine(25) == pytest.approx(0.0)
    assert rates("constant", warmup=0, length=lambda: (9, 3))(7) == 1


def test_the_validation_score_is_over_all_windows_whatever_the_batch_size(data, tmp_path):
    module = task(data)
    scores = []
    for size in (32, 7):
        data.batch_size = size
        trainer = make_trainer(SETTINGS, tmp_path / str(size), quiet=True)
        (found,) = trainer.validate(module, datamodule=data, verbose=False)
        scores.append(found["val/mse"])
    errors = [(module.chain.eval()(b) - b.future).double() for b in batches(data.gather, data.windows("val"), 50)]
    assert scores == pytest.approx([torch.cat(errors).square().mean().item()] * 2, rel=1e-5)


def test_early_stopping_waits_for_its_patience(data, tmp_path):
    trainer = make_trainer({**SETTINGS, "max_epochs": 50, "patience": 2}, tmp_path, quiet=True)
    fit(trainer, task(data, **PLAIN, optim={**CONFIG["optim"], "lr": 1e-30}), data)
    assert trainer.current_epoch == 3


def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_batch(data, tmp_path):
    module = task(data)
    module.chain.head.projection.weight.data.fill_(torch.nan)
    with pytest.raises(
        RunError, match=r"loss of batch 0 in epoch 1 is nan.*begin at 2012-\d+.* of series 'electricity'"
    ):
        fit(make_trainer(SETTINGS, tmp_path, quiet=True), module, data)


class Killed(Exception):
    """Stands for a SIGKILL where a test needs many; tests/verbs/test_resume.py and tests/soak kill for real."""


class Kill(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, number):
        if trainer.global_step >= self.step:
            raise Killed


@pytest.mark.parametrize("change", [
    {}, {"accumulate": 3}, pytest.param({"val_every": 0.3}, marks=pytest.mark.long),
    pytest.param({"schedule": "plateau", "val_every": 0.5, "patience": 9}, marks=pytest.mark.long),
], ids=str)  # fmt: skip
def test_resume_anywhere_equals_never_having_stopped(data, tmp_path, change):
    """Weights, optimiser, best checkpoint and history, whatever batch the kill came at; 9 batches an epoch."""
    schedule = change.get("schedule", "cosine")
    settings = {**SETTINGS, "save_every": 1, **{k: v for k, v in change.items() if k != "schedule"}}
    whole = task(data, schedule=schedule)
    fit(make_trainer(settings, tmp_path / "whole", quiet=True), whole, data)
    expected = AtomicCheckpoints().load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    for step in (1, 2, 3, 4, 5):
        folder = tmp_path / str(step)
        trainer = make_trainer(settings, folder, quiet=True)
        trainer.callbacks.append(Kill(step))
        with pytest.raises(Killed):
            fit(trainer, task(data, schedule=schedule), data)
        last = folder / "checkpoints" / "last.ckpt"
        if not last.is_file():  # with val_every=0.3 the first batches are followed by validations
            continue
        again = task(data, schedule=schedule)
        fit(make_trainer(settings, folder, quiet=True), again, data, resume=last)
        found = AtomicCheckpoints().load_checkpoint(last)
        assert weights(whole).equal(weights(again)), step
        torch.testing.assert_close(found["optimizer_states"], expected["optimizer_states"], rtol=0, atol=0)
        assert scores(folder) == scores(tmp_path / "whole"), step
        ours, theirs = best_weights(folder), best_weights(tmp_path / "whole")
        assert all(ours[name].equal(theirs[name]) for name in theirs)


def scores(folder):
    """history.csv without its seconds."""
    with open(folder / "history.csv", newline="") as file:
        return [row[:4] for row in csv.reader(file)]


def test_resume_at_an_epoch_equals_never_having_stopped(data, tmp_path):
    whole, first, second = (task(data, schedule="halve") for _ in range(3))
    fit(make_trainer({**SETTINGS, "max_epochs": 3}, tmp_path / "whole", quiet=True), whole, data)
    fit(make_trainer({**SETTINGS, "max_epochs": 1}, tmp_path / "parts", quiet=True), first, data)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    # the schedule of an epoch does not depend on how many are planned, with halve
    fit(make_trainer({**SETTINGS, "max_epochs": 3}, tmp_path / "parts", quiet=True), second, data, resume=last)
    assert weights(whole).equal(weights(second))


def test_a_budget_ends_the_training_and_a_resume_without_it_goes_on_within_the_epoch(data, tmp_path, monkeypatch):
    """The clock of this test is the step: 9 batches an epoch, 13 seconds."""
    settings, step = {**SETTINGS, "max_epochs": 3}, []
    fit(make_trainer(settings, tmp_path / "whole", quiet=True), whole := task(data), data)
    monkeypatch.setattr(History, "seconds", property(lambda self: float(step[-1].global_step)))
    for budget, steps in (("13s", 13), ("13s", 13), ("1m", 27)):
        last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
        step.append(make_trainer(settings, tmp_path / "parts", quiet=True, budget=budget))
        fit(step[-1], module := task(data), data, resume=last if last.is_file() else None)
        assert (step[-1].global_step, spent(step[-1])) == (steps, budget == "13s")
    assert weights(module).equal(weights(whole))
    validated = [row[0] for row in scores(tmp_path / "parts") if row[2] == "val/mse"]
    assert validated == ["9", "13", "18", "27"]


@pytest.mark.parametrize(("words", "expected"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("2h5s", 7205)])
def test_a_budget_is_read(words, expected):
    assert seconds(words) == expected


@pytest.mark.parametrize("words", ["", "0s", "10", "m", "1.5h", "30m1h", "-3s", "10 m", "soon"])
def test_a_budget_that_means_nothing_is_refused(words):
    with pytest.raises(UsageError, match="expected hours, minutes or seconds"):
        seconds(words)


@pytest.mark.long
def test_compiled_training_gives_a_chain_with_the_same_names(data, tmp_path):
    plain, compiled = task(data, **PLAIN), task(data, **PLAIN)
    compiled.chain.compile()
    for name, module in (("plain", plain), ("compiled", compiled)):
        short = {**SETTINGS, "max_epochs": 1, "limit_train_batches": 3}
        fit(make_trainer(short, tmp_path / name, quiet=True), module, data)
    assert list(best_weights(tmp_path / "plain")) == list(best_weights(tmp_path / "compiled"))
    torch.testing.assert_close(weights(plain), weights(compiled), rtol=1e-4, atol=1e-5)


def test_checkpoints_replace_the_old_one_only_when_whole(tmp_path, monkeypatch):
    writer, path = AtomicCheckpoints(), tmp_path / "c.ckpt"
    writer.save_checkpoint({"x": torch.ones(3)}, path)

    def half(state, place):
        place.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(RunError, match=r"c.ckpt cannot be written: No space left on device; .* was kept; make room"):
        writer.save_checkpoint({"x": torch.zeros(3)}, path)
    assert writer.load_checkpoint(path)["x"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["c.ckpt"]


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"x": Payload()}, tmp_path / "bad.ckpt")
    seal(tmp_path / "bad.ckpt")
    with pytest.raises(ArtifactError, match="no readable checkpoint"):
        AtomicCheckpoints().load_checkpoint(tmp_path / "bad.ckpt")


def test_bad_trainer_settings_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="^trainer[^\n]*$"):
        make_trainer({**SETTINGS, "strategy": "nonsense"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lightning_is_not_told_to_shuffle_for_itself(tmp_path):
    trainer = make_trainer(SETTINGS, tmp_path)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.logger is None


def test_resume_remembers_what_early_stopping_counted(data, tmp_path):
    """Nothing improves: two epochs of patience end the third epoch, whether or not the run was cut in two."""
    frozen = {**PLAIN, "optim": {**CONFIG["optim"], "lr": 1e-30}}
    settings = {**SETTINGS, "patience": 2}
    fit(make_trainer({**settings, "max_epochs": 2}, tmp_path, quiet=True), task(data, **frozen), data)
    again = make_trainer({**settings, "max_epochs": 9}, tmp_path, quiet=True)
    fit(again, task(data, **frozen), data, resume=tmp_path / "checkpoints" / "last.ckpt")
    assert again.current_epoch == 3


def losses(folder):
    with open(folder / "history.csv", newline="") as file:
        return [(int(row["step"]), float(row["value"])) for row in csv.DictReader(file) if row["name"] == "train/loss"]


def test_history_means_the_same_with_accumulation(data, tmp_path):
    still = {**PLAIN, "optim": {**CONFIG["optim"], "lr": 1e-30}}
    for n in (1, 3):
        trainer = make_trainer({**SETTINGS, "max_epochs": 1, "accumulate": n}, tmp_path / str(n), quiet=True)
        fit(trainer, task(data, **still), data)
    ((_, plain),), ((_, accumulated),) = losses(tmp_path / "1"), losses(tmp_path / "3")
    assert accumulated == pytest.approx(plain, rel=1e-4)


def test_halving_counts_epochs_whatever_max_steps_says(data, tmp_path):
    trainer = make_trainer({**SETTINGS, "max_epochs": 8, "max_steps": 12}, tmp_path, quiet=True)
    fit(trainer, task(data, schedule="halve"), data)  # 9 steps an epoch
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.005)


def test_a_ctrl_c_that_was_swallowed_is_heard_at_the_next_batch(data, tmp_path):
    class Swallow(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, number):
            if number == 2:
                with contextlib.suppress(KeyboardInterrupt):  # as Python does inside a finaliser
                    signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    trainer = make_trainer(SETTINGS, tmp_path, quiet=True)
    trainer.callbacks.append(Swallow())
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, task(data), data)
    assert trainer.global_step == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_moved_run_remembers_its_best_score(data, tmp_path):
    """After a resume elsewhere a worse validation does not replace the best weights."""
    fit(make_trainer({**SETTINGS, "max_epochs": 2}, tmp_path / "old", quiet=True), task(data), data)
    (tmp_path / "old").rename(tmp_path / "new")
    best = best_weights(tmp_path / "new")
    worse = task(data)
    again = make_trainer({**SETTINGS, "max_epochs": 3}, tmp_path / "new", quiet=True)
    again.callbacks.append(Spoil())
    fit(again, worse, data, resume=tmp_path / "new" / "checkpoints" / "last.ckpt")
    assert all(best_weights(tmp_path / "new")[name].equal(best[name]) for name in best)


class Spoil(pl.Callback):
    def on_validation_start(self, trainer, module):
        for parameter in module.parameters():
            parameter.data.mul_(3.0)


@pytest.mark.parametrize("harm", ["cut", "bit", "tail", "empty", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path, harm):
    writer, path = AtomicCheckpoints(), tmp_path / "c.ckpt"
    writer.save_checkpoint({"x": torch.arange(1000)}, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    path.write_bytes({
        "cut": whole[:-1], "bit": bytes(flipped), "tail": whole + b"0", "empty": b"", "other": b"PK" * 500,
    }[harm])  # fmt: skip
    with pytest.raises(ArtifactError, match="its sha256 is not its own"):
        writer.load_checkpoint(path)
    path.write_bytes(whole)
    assert writer.load_checkpoint(path)["x"].equal(torch.arange(1000))


def test_out_of_memory_names_a_batch_size(data, tmp_path):
    """A real refusal of the allocator: a petabyte."""
    module = task(data)
    module.chain.head.forward = lambda memory, context: torch.empty(1 << 50)
    with pytest.raises(RunError, match=r"^out of memory with data.batch_size=32; try data.batch_size=16 trainer.acc"):
        fit(make_trainer(SETTINGS, tmp_path, quiet=True), module, data)
