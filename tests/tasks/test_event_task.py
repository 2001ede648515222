"""The task of events: its loss, its laws, and the oracle that only a leak can beat."""

import numpy as np
import pytest
import torch
from torch import nn

from forecast import build
from forecast.data.event_loader import EventLoader
from forecast.data.event_module import EventModule
from forecast.data.hawkes import score as oracle
from forecast.errors import UsageError
from forecast.heads.event_chain import EventChain
from forecast.models.base import Encoder
from forecast.tasks.event import EventTask
from tests.data.test_event_module import THREE

MODELS = {
    "aaren": {"_target_": "forecast.models.Aaren", "heads": 2, "d_ff": 32, "dropout": 0.0},
    "lstm": {"_target_": "forecast.models.LSTM", "layers": 1},
    "transformer": {"_target_": "forecast.models.Transformer", "heads": 2, "d_ff": 32, "causal": True},
    "tcnca": {"_target_": "forecast.models.TCNCA", "d_key": 8, "d_ff": 32, "layers": 1, "chunk": 4, "dropout": 0.0},
    "informer": {"_target_": "forecast.models.Informer", "heads": 2, "d_ff": 32, "causal": True, "aligned": True,
                 "dropout": 0.0},
    "none": {"_target_": "forecast.models.Identity"},
}  # fmt: skip
HEAD = {"_target_": "forecast.heads.NextEvent", "components": 16, "mark_given": "gap"}
EMBED = {"_target_": "forecast.models.EventEmbedding", "d_model": 16, "d_mark": 4, "clock": 4}


@pytest.fixture(scope="module")
def data() -> EventModule:
    return EventModule(hawkes={**THREE, "sequences": [200, 20, 200], "end": 25.0}, batch_size=32).prepare()


def chain_of(data: EventModule, name: str = "lstm", /, **groups) -> EventChain:
    config = {"model": MODELS[name], "head": HEAD, "embed": EMBED, "norm": "none", "seed": 1, **groups}
    torch.manual_seed(0)
    return build.event_chain(config, data.spec)


def batches(data: EventModule, part: str, seed: int | None = None) -> EventLoader:
    return EventLoader(data.gather(part), 32, survival=True, seed=seed)


@pytest.mark.parametrize("model", MODELS)
def test_nothing_leaks_and_padding_is_nothing(data, model):
    """Later events edited, and rows of other lengths beside it: what was forecast before stays as it was."""
    chain = chain_of(data, model).double().eval()
    batch = next(iter(batches(data, "test")))
    short = batch.length.argmin()
    doubled = batch._replace(gaps=batch.gaps.double(), last=batch.last.double())
    whole = chain(doubled)
    cut = int(batch.length[short]) // 2
    later = doubled._replace(
        gaps=torch.where(torch.arange(batch.gaps.shape[1]) >= cut, doubled.gaps * 3 + 1, doubled.gaps),
        marks=torch.where(torch.arange(batch.gaps.shape[1]) >= cut, (batch.marks + 1) % 3, batch.marks) * batch.mask,
    )
    edited = chain(later)
    assert torch.equal(whole.gaps.place[:, :cut], edited.gaps.place[:, :cut])
    length = int(batch.length[short])
    alone = chain(type(batch)._make(None if x is None else x[short : short + 1, :length] if x.ndim > 1 else
                                    x[short : short + 1] for x in doubled))  # fmt: skip
    torch.testing.assert_close(alone.gaps.place[0], whole.gaps.place[short, :length], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "informer"])
def test_a_stream_of_events_is_one_scan(data, model):
    chain = chain_of(data, model).double().eval()
    batch = next(iter(batches(data, "test")))
    gaps = batch.gaps.double()
    whole = chain(batch._replace(gaps=gaps))
    state, parts = chain.start(len(gaps)), []
    for a, b in ((0, 3), (3, 4), (4, gaps.shape[1])):
        state, made = chain.scan(state, gaps[:, a:b], batch.marks[:, a:b], batch.mask[:, a:b])
        parts.append(made.gaps.place)
    torch.testing.assert_close(torch.cat(parts, 1)[batch.mask], whole.gaps.place[batch.mask], rtol=1e-8, atol=1e-8)


def test_the_loss_weighs_every_event_the_same(data):
    """Sums over batches of any size are sums over the part, in the loss and in the scores."""
    chain = chain_of(data).eval()
    task = EventTask(chain, lambda params: None, targets=data.targets, where=data.where)
    sums = [task.loss(batch) * data.targets for batch in batches(data, "train", seed=1)]
    other = EventLoader(data.gather("train"), 7, survival=True)
    torch.testing.assert_close(sum(sums), sum(task.loss(batch) * data.targets for batch in other), rtol=1e-4, atol=0)
    total = sum(task.sums(batch, torch.float64) for batch in batches(data, "val"))
    nll, time, mark = task.scores(total.tolist())
    assert total[2] == data.part("val").target.sum() and nll == pytest.approx(-time - mark)
    one = EventTask(chain, lambda params: None, targets=data.targets, survival=False, where=data.where)
    batch = next(iter(batches(data, "train")))
    survival = (task.loss(batch) - one.loss(batch)) * data.targets
    states = chain.last(batch)
    torch.testing.assert_close(survival, -states.log_survival(batch.last).sum())


class Ahead(Encoder):
    """A token is that of the event to come: what no forecast may know."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, causal=True)  # a lie
        self.mix = nn.Linear(d_model, d_model)

    def forward(self, x, mask=None, dt=None):
        return self.mix(torch.cat([x[:, 1:], x[:, -1:]], 1))


def learned(chain: EventChain, data: EventModule, epochs: int) -> float:
    """Nats per event of test, after a short training."""
    optimiser = torch.optim.Adam(chain.parameters(), 1e-2)
    task = EventTask(chain, lambda params: None, targets=data.targets, where=data.where)
    for epoch in range(epochs):
        loader = batches(data, "train", seed=1)
        loader.set_epoch(epoch)
        for batch in loader:
            optimiser.zero_grad()
            task.loss(batch).backward()
            optimiser.step()
    chain.eval()
    with torch.no_grad():
        total = sum(task.sums(batch, torch.float64) for batch in batches(data, "test"))
    return -task.scores(total.tolist())[0]


def test_only_a_leak_beats_the_oracle(data):
    torch.set_num_threads(1)
    assert data.process is not None
    best = oracle(data.process, data.part("test"))
    truth = best.time + best.mark
    honest = learned(chain_of(data, "lstm"), data, 12)
    chain = chain_of(data, "none")
    chain.encoder = Ahead(16)
    leaking = learned(chain, data, 12)
    noise = 3 / np.sqrt(best.events)
    assert honest < truth + noise and honest > truth - 0.15
    assert leaking > truth + 0.3, (leaking, truth)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": "instance"}, "norm is instance; their embedding scales gaps"),
        (
            {"head": {"_target_": "forecast.heads.Direct"}},
            "Direct is for series; the task is about events; set head=next_",
        ),
        ({"embed": {"_target_": "forecast.models.NoEmbedding"}}, "NoEmbedding is for series; .* set embed=event"),
        ({"model": {**MODELS["lstm"], "d_model": 8}}, "tokens of width 16, the encoder takes 8; set embed.d_model"),
        ({"model": {**MODELS["transformer"], "causal": False}}, "Transformer looks ahead; task=event needs"),
        (
            {"model": {**MODELS["informer"], "causal": False, "aligned": False}},
            "Informer gives fewer tokens than it takes",
        ),
        ({"head": {**HEAD, "begin": "here"}}, "head.begin is 'here'; expected normal | quantiles"),
    ],
)
def test_what_does_not_fit_is_refused(data, change, said):
    with pytest.raises(UsageError, match=said):
        chain_of(data, **change)
