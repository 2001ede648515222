"""Futures drawn from a chain: the same for the same noise however they are made, and of the law that is known."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from forecast.heads.elapsed import after
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import NextEvent
from forecast.inference.event_floors import fit
from forecast.inference.event_memory import ahead, begin
from forecast.inference.event_paths import likeliest, sample_paths
from forecast.models import LSTM, Aaren, Identity, Informer, Transformer
from forecast.models.event_embed import EventEmbedding
from forecast.types import EventBatch, EventSpec

D = 16
FACTS = {"log_mean": -0.3, "log_std": 1.2}
ENCODERS = {
    "aaren": lambda: Aaren(d_model=D, heads=2, d_ff=32, layers=2, dropout=0.0),
    "lstm": lambda: LSTM(d_model=D),
    "transformer": lambda: Transformer(d_model=D, heads=2, d_ff=32, layers=2, causal=True),
    "short window": lambda: Transformer(d_model=D, heads=2, d_ff=32, layers=1, causal=True, window=5),
}


def chain(encoder: nn.Module, *, marks: int = 3, grid: float = 0.0, labels: bool = False, extra: int = 0,
          given: str = "state", seed: int = 0, components: int = 4) -> EventChain:  # fmt: skip
    torch.manual_seed(seed)
    spec = EventSpec(tuple(map(str, range(marks))), "day", grid, 0.0 if grid else 1e-4, *FACTS.values(),
                     tuple(f"x{i}" for i in range(extra)), labels)  # fmt: skip
    words = {"marks": marks, **FACTS, "labels": labels}
    made = EventChain(embed=EventEmbedding(d_model=D, d_mark=4, extra=extra, **words), encoder=encoder,
                      head=NextEvent(d_memory=D, components=components, grid=grid, mark_given=given, **words),
                      spec=spec)  # fmt: skip
    for module in (encoder, made.head):
        for weight in module.parameters():
            if weight.ndim > 1:
                weight.data.mul_(2.0)  # so that what came before matters
    return made.eval()


def history(*lengths: int, seed: int = 0, marks: int = 3, labels: bool = False, extra: int = 0) -> EventBatch:
    g = torch.Generator().manual_seed(seed)
    wide = max(lengths)
    parts = []
    for length in lengths:  # of each sequence by itself: a batch of some is a part of the batch of all
        row = torch.zeros(wide), torch.zeros(wide, dtype=torch.int64), torch.zeros(wide, extra)
        row[0][1:length] = torch.rand(length - 1, generator=g) + 0.01
        row[1][:length] = torch.randint(0, marks + 1, (length,), generator=g)  # one that is unknown too
        row[2][:length] = torch.randn(length, extra, generator=g)
        parts.append(row)
    gaps, codes, others = (torch.stack(part) for part in zip(*parts, strict=True))
    length = torch.tensor(lengths)
    mask = torch.arange(wide) < length[:, None]
    if labels:
        codes = torch.nn.functional.one_hot(codes, marks + 1)[..., :marks].bool() & mask[..., None]
    return EventBatch(gaps, codes, mask, mask, torch.zeros(len(lengths)), length, torch.arange(len(lengths)),
                      others if extra else None)  # fmt: skip


def rows(batch: EventBatch, some: list[int]) -> EventBatch:
    wide = int(batch.length[some].max())
    cut = [None if part is None else part[some][:, :wide] if part.ndim > 1 else part[some] for part in batch]
    return EventBatch(*cut)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("how", [{"events": 12}, {"window": 6.0}], ids=str)
def test_the_state_gives_what_going_through_all_events_gives(name, how):
    of, past = chain(ENCODERS[name]()), history(7, 1, 20)
    fast = sample_paths(of, past, paths=5, seed=3, **how)
    slow = sample_paths(of, past, paths=5, seed=3, recompute=True, **how)
    assert torch.equal(fast.mask, slow.mask) and torch.equal(fast.marks, slow.marks)
    torch.testing.assert_close(fast.gaps, slow.gaps, rtol=1e-3, atol=1e-6)
    one, other = (likeliest(of, past, recompute=again, **how) for again in (False, True))
    torch.testing.assert_close(one.times, other.times, rtol=1e-4, atol=1e-5)
    assert torch.equal(one.marks, other.marks)


def test_an_encoder_that_does_not_stream_goes_through_all_events():
    encoder = Informer(d_model=D, heads=2, d_ff=32, layers=(1,), causal=True, aligned=True, distil=False, dropout=0.0)
    of, past = chain(encoder), history(7, 1, 20)
    assert not of.streams
    drawn = sample_paths(of, past, paths=3, events=4)
    assert drawn.mask.all() and drawn.gaps.shape == (3, 3, 4)
    # each step is what the chain forecasts after those before it
    grown = history(7, 1, 20)
    gaps = torch.cat([grown.gaps[2], drawn.gaps[2, 1, :3]])[None]
    marks = torch.cat([grown.marks[2], drawn.marks[2, 1, :3]])[None]
    mask = torch.ones_like(marks, dtype=torch.bool)
    whole = grown._replace(gaps=gaps, marks=marks, mask=mask, length=torch.tensor([23]), sequence=torch.tensor([2]))
    again = begin(of, whole)
    with torch.no_grad():
        torch.testing.assert_close(ahead(again).gaps.place[:, 0], of(whole).gaps.place[:, 22], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", [{}, {"labels": True}, {"given": "gap"}, {"grid": 0.25}, {"extra": 2}], ids=str)
def test_paths_are_those_of_their_sequence_in_any_batch(how):
    words = {key: how[key] for key in ("labels", "extra") if key in how}
    of, past = chain(ENCODERS["aaren"](), **how), history(7, 1, 20, 4, **words)
    passed = torch.tensor([0.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    clock = torch.arange(4.0)

    def extra(time: torch.Tensor) -> torch.Tensor:
        return torch.stack([time.sin(), time.cos()], -1)

    more = {"time": clock, "extra": extra} if "extra" in how else {}
    whole = sample_paths(of, past, paths=6, window=5.0, elapsed=passed, seed=1, **more)
    for some in ([2], [3, 0]):
        fewer = {**more, "time": clock[some]} if more else {}
        part = sample_paths(of, rows(past, some), paths=6, window=5.0, elapsed=passed[some], seed=1, **fewer)
        wide = part.mask.shape[-1]
        assert torch.equal(part.mask, whole.mask[some][..., :wide]) and not whole.mask[some][..., wide:].any()
        assert torch.equal(part.marks, whole.marks[some][:, :, :wide])
        torch.testing.assert_close(part.gaps, whole.gaps[some][..., :wide], rtol=1e-3, atol=1e-6)
    other = sample_paths(of, past, paths=6, window=5.0, elapsed=passed, seed=2, **more)
    assert whole.gaps.shape != other.gaps.shape or not torch.equal(whole.gaps, other.gaps)
    if "grid" in how:
        assert ((whole.gaps / 0.25) % 1 == 0).all()


def test_what_is_known_of_an_event_to_come_reaches_it():
    of, past = chain(ENCODERS["aaren"](), extra=1), history(5, 9, extra=1)
    asked = []

    def extra(time: torch.Tensor) -> torch.Tensor:
        asked.append(time)
        return time[:, None].sin() * 3

    at = torch.tensor([100.0, 200.0])
    told = sample_paths(of, past, paths=2, events=4, time=at, extra=extra)
    plain = sample_paths(of, past, paths=2, events=4)
    assert torch.equal(told.gaps[..., 0], plain.gaps[..., 0]) and not torch.equal(told.gaps, plain.gaps)
    stamps = at.double().repeat_interleave(2)[:, None] + told.gaps.double().cumsum(-1).reshape(4, 4)
    torch.testing.assert_close(torch.stack(asked, 1), stamps[:, :3])
    with pytest.raises(ValueError, match="give time"):
        sample_paths(of, past, events=4, extra=extra)


@functools.cache
def steady(marks: int = 3, *, rate: float = 1.5, components: int = 16) -> EventChain:
    """Exponential gaps, as near as log-normals come, and marks of .5, .3, .2, whatever was before."""
    of = chain(Identity(d_model=D), marks=marks, components=components)
    gap = -np.log1p(-(np.arange(20000) + 0.5) / 20000) / rate
    law = fit(gap, components=components)
    of.head.projection.weight.data.zero_()
    place = (law.place[0] - FACTS["log_mean"]) / FACTS["log_std"]
    scale = law.log_scale[0] - math.log(FACTS["log_std"])
    of.head.projection.bias.data = torch.cat([place, scale, law.log_weight[0]]).float()
    of.head.marks.logits.weight.data.zero_()
    of.head.marks.logits.bias.data = torch.tensor([0.5, 0.3, 0.2]).log()
    return of


def test_counts_of_a_poisson_process():
    of, past, window = steady(), history(3, 8), 4.0
    drawn = sample_paths(of, past, paths=4000, window=window)
    expected = 1.5 * window * torch.tensor([0.5, 0.3, 0.2]).double()
    assert (drawn.expected(3) / expected - 1).abs().max() < 0.05
    assert float(drawn.totals.double().var()) == pytest.approx(6.0, rel=0.06)
    assert drawn.some.tolist() == pytest.approx([1 - math.exp(-6.0)] * 2, abs=3e-3)
    assert drawn.count_quantiles([0.5]).tolist() == [[6.0], [6.0]]
    third = drawn.time_quantiles(3, [0.5])  # the median of Erlang's law
    assert third.flatten().tolist() == pytest.approx([2.674 / 1.5] * 2, rel=0.05)
    assert not drawn.cut.any()


def test_waiting_changes_nothing_where_there_is_no_memory():
    of, past = steady(), history(3, 3, seed=1)
    passed = torch.tensor([0.0, 1.0], dtype=torch.float64)
    drawn = sample_paths(of, past, paths=4000, window=2.0, elapsed=passed)
    counts = drawn.totals.double().mean(1)
    assert float(counts[1]) == pytest.approx(3.0, rel=0.06) and float(counts[0]) == pytest.approx(3.0, rel=0.06)
    assert (drawn.times[1][drawn.mask[1]] > 0).all() and (drawn.gaps[1, :, 0][drawn.mask[1, :, 0]] > 1).all()


def test_the_first_time_follows_what_is_left_of_the_gap():
    of, past = chain(ENCODERS["aaren"]()), history(6)
    passed = torch.tensor([0.7], dtype=torch.float64)
    drawn = sample_paths(of, past, paths=4000, events=1, elapsed=passed)
    law = after(ahead(begin(of, past)).gaps, 0.7)
    for level in (0.1, 0.5, 0.9):
        assert float((drawn.times <= law.quantile(level)[0]).double().mean()) == pytest.approx(level, abs=0.025)
    some = sample_paths(of, past, paths=4000, window=0.5, elapsed=passed)
    share = float((some.totals > 0).double().mean())
    assert share == pytest.approx(float(some.some), abs=0.025)
    best = likeliest(of, past, events=1, elapsed=passed)
    assert float(best.times) == pytest.approx(float(law.median().detach()), rel=1e-3)


def test_a_path_that_goes_on_is_told_and_quantiles_may_be_later():
    drawn = sample_paths(steady(), history(3), paths=50, window=1e6, most=4)
    assert drawn.cut.all() and drawn.mask.all() and drawn.mask.shape[-1] == 4
    few = sample_paths(steady(), history(3), paths=50, window=0.1)
    assert few.time_quantiles(1, [0.5]).isinf().all() and few.time_quantiles(99, [0.5]).isinf().all()
    assert few.expected(3).shape == (1, 3)


WRONG = {
    "neither": ({}, "one of the two"),
    "both": ({"events": 3, "window": 1.0}, "one of the two"),
    "no window": ({"window": 0.0}, "a window above 0"),
    "no events": ({"events": 0}, "1 or more"),
    "no paths": ({"events": 1, "paths": 0}, "1 or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_out_of_range_are_refused(name):
    words, told = WRONG[name]
    with pytest.raises(ValueError, match=told):
        sample_paths(steady(), history(3), **words)


def test_what_is_no_forecast_is_refused():
    drawn = sample_paths(steady(), history(3), paths=2, events=2)
    with pytest.raises(ValueError, match="1 or more"):
        drawn.time_quantiles(0, [0.5])
    with pytest.raises(ValueError, match="shares above 0"):
        drawn.count_quantiles([0.0])
    with pytest.raises(ValueError, match="at least one"):
        sample_paths(steady(), history(3)._replace(length=torch.tensor([0])), events=1)
    with pytest.raises(ValueError, match="causal"):
        sample_paths(chain(Transformer(d_model=D, heads=2, d_ff=32, layers=1)), history(3), events=1)


def test_a_long_history_is_gone_through_in_blocks(monkeypatch):
    of, past = chain(ENCODERS["aaren"]()), history(7, 1, 20)
    whole = begin(of, past).latest
    monkeypatch.setattr("forecast.inference.event_memory.AT_ONCE", 10)
    torch.testing.assert_close(begin(of, past).latest, whole, rtol=1e-4, atol=1e-5)
