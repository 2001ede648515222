"""The task of classification: what its validation says, and what it averages."""

import math

import torch

from forecast.heads import Pool
from forecast.heads.label_chain import LabelChain
from forecast.metrics.classes import nll_at, temperatures
from forecast.models import Identity, SeriesEmbedding
from forecast.tasks.augment import Augment
from forecast.tasks.classify import ClassifyTask
from forecast.types import LabelBatch, LabelSpec


def made(**words: object) -> ClassifyTask:
    torch.manual_seed(0)
    embed = SeriesEmbedding(channels=1, longest=12, d_model=8, tokens=4, layers=1)
    head = Pool(d_memory=8, classes=2)
    spec = LabelSpec(("x",), ("",), ("a", "b"), 12, 12)
    chain = LabelChain(embed=embed, encoder=Identity(d_model=8), head=head, spec=spec)
    return ClassifyTask(chain, torch.optim.Adam, augment=Augment(), where=str, **words)  # type: ignore[arg-type]


def batch(count: int = 6) -> LabelBatch:
    values = torch.randn(count, 12, 1, generator=torch.Generator().manual_seed(1))
    label = torch.arange(count) % 2
    return LabelBatch(values, torch.ones_like(values, dtype=torch.bool), torch.full((count,), 12), label, label)


def test_surer_right_answers_are_still_better_when_all_are_right():
    task = made()
    found = []
    for sure in (1.0, 4.0, 16.0):
        logits = sure * torch.eye(2, dtype=torch.float64).repeat(5, 1)
        sums = nll_at(logits, torch.arange(2).repeat(5), temperatures())
        found.append(task.scores([*sums.tolist(), 10.0, 10.0]))
    losses, right = zip(*found, strict=True)
    assert losses[0] > losses[1] > losses[2] > 0 and set(right) == {1.0}


def test_sums_of_batches_add_up():
    task, whole = made().eval(), batch()
    halves = [LabelBatch(*(part[some] for part in whole)) for some in (slice(0, 2), slice(2, 6))]
    total = sum(task.sums(half, torch.float64) for half in halves)
    torch.testing.assert_close(total, task.sums(whole, torch.float64))
    assert math.isfinite(task.scores(total.tolist())[0])


def test_the_average_of_the_weights_follows_them():
    task = made(average=0.9)
    before = {name: value.clone() for name, value in task.kept().items()}
    with torch.no_grad():
        for parameter in task.chain.parameters():
            parameter.add_(1.0)
    task._averaged_on()  # the first step: a is at most 2 / 11
    after, now = task.kept(), task.chain.state_dict()
    for name, _ in task.chain.named_parameters():
        torch.testing.assert_close(after[name], before[name] * 2 / 11 + now[name] * 9 / 11)


def test_the_encoder_learns_at_its_share():
    task = made(encoder_lr=0.25)
    assert len(task.groups()) == 1  # identity learns nothing
    task.chain.encoder = torch.nn.LSTM(8, 8)  # type: ignore[assignment]
    rest, own = task.groups()
    assert own["factor"] == 0.25 and len(own["params"]) == 4
    assert len(rest["params"]) + 4 == len(list(task.chain.parameters()))
