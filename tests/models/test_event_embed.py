"""Tokens of events: their equation, the streaming law, masks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecast.models.event_embed import EventEmbedding


def embedding(**words) -> EventEmbedding:
    torch.manual_seed(0)
    return EventEmbedding(**{"marks": 5, "log_mean": -0.4, "log_std": 1.7, "d_model": 8, "d_mark": 4, **words}).eval()


def events(batch: int = 2, length: int = 9):
    g = torch.Generator().manual_seed(0)
    gap = torch.randn(batch, length, generator=g).exp()
    return gap, torch.randint(0, 5, (batch, length), generator=g), torch.rand(batch, length, generator=g) > 0.3


def test_a_token_is_its_log_gap_and_its_mark():
    made, (gap, mark, _) = embedding(), events()
    x = ((gap + 1e-8).log() + 0.4) / 1.7
    want = made.mix(torch.cat([x[..., None], made.mark.weight[mark]], -1))
    torch.testing.assert_close(made(gap, mark), want)


@pytest.mark.parametrize(
    "words", [{}, {"marks": 1}, {"extra": 3}, {"labels": True}, {"levels": (-0.5, 0.0, 0.5)}], ids=str
)
@given(cuts=st.lists(st.integers(0, 9), max_size=4))
def test_any_split_gives_the_same_tokens(words, cuts):
    made, (gap, mark, mask) = embedding(**words), events()
    extra = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(1)) if "extra" in words else None
    if "labels" in words:
        mark = torch.nn.functional.one_hot(mark, 5).bool()
    state, found = made.start(2), []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 9], strict=True):
        part = slice(first, last)
        state, tokens = made.scan(
            state, gap[:, part], mark[:, part], mask[:, part], None if extra is None else extra[:, part]
        )
        found.append(tokens)
    torch.testing.assert_close(torch.cat(found, 1), made(gap, mark, mask, extra))


def test_what_is_masked_is_zero_and_changes_nothing():
    made, (gap, mark, mask) = embedding(extra=1), events()
    extra = torch.ones(2, 9, 1)
    clean = made(gap, mark, mask, extra)
    hidden = made(
        gap.masked_fill(~mask, math.nan),
        mark.masked_fill(~mask, 99),
        mask,
        extra.masked_fill(~mask[..., None], math.inf),
    )
    assert torch.equal(clean, hidden)
    assert not clean[~mask].any() and clean[mask].any()


def test_gradients_are_finite_whatever_is_masked():
    made, (gap, mark, mask) = embedding(), events()
    made(gap.masked_fill(~mask, math.nan), mark, mask).sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_labels_add_up_and_an_unknown_mark_is_nothing():
    many, one = embedding(labels=True), embedding()
    many.load_state_dict(one.state_dict())
    gap, mark, _ = events()
    hot = torch.nn.functional.one_hot(mark, 5).bool()
    torch.testing.assert_close(many(gap, hot), one(gap, mark))
    torch.testing.assert_close(many(gap, hot & False), one(gap, torch.full_like(mark, 5)))


def test_gaps_of_any_size():
    made = embedding()
    gap = torch.tensor([[0.0, 1e-9, 1e9]])
    assert made(gap, torch.zeros(1, 3).long()).isfinite().all()


@pytest.mark.parametrize(
    "words, told",
    [
        ({"marks": 0}, "0 marks"),
        ({"log_std": 0.0}, "deviation 0.0"),
        ({"d_mark": 0}, "embed.d_mark is 0"),
        ({"clock": -1}, "embed.clock is -1"),
        ({"bins": 1}, "embed.bins is 1"),
        ({"bins": 8}, "quantiles to cut"),
    ],
)
def test_settings_out_of_range_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        embedding(**words)


def test_missing_covariates_are_told():
    gap, mark, _ = events()
    with pytest.raises(ValueError, match="come with none covariates; expected 2"):
        embedding(extra=2)(gap, mark)


LEVELS = tuple(torch.special.ndtri((torch.arange(128) + 0.5) / 128).tolist())


def test_levels_tell_gaps_apart_by_bins():
    """Gaps of one bin differ by what is linear in their logs; the gap 0 has a bin of its own, beyond the least."""
    plain, made = embedding(), embedding(bins=32, levels=LEVELS)
    made.load_state_dict(plain.state_dict(), strict=False)
    x = torch.linspace(-4, 4, 400)
    gap = torch.cat([torch.zeros(1), (1.7 * x - 0.4).exp()])[None]
    mark = torch.zeros(1, 401).long()
    added = (made(gap, mark) - plain(gap, mark))[0]
    torch.testing.assert_close(added[0], made.bin.weight[0])
    assert len(made.edges) == 31 and len(added.mul(1e3).round().unique(dim=0)) == 33
    share = (torch.arange(320) + 0.5) / 320
    even = ((1.7 * torch.special.ndtri(share) - 0.4).exp())[None]
    found = torch.bucketize(((even.log() + 0.4) / 1.7)[0], made.edges).bincount()
    assert len(found) == 32 and found.min() >= 8 and found.max() <= 12


def test_gaps_that_are_all_alike_have_bins():
    made = embedding(bins=32, levels=(0.0,) * 128)
    assert len(made.edges) == 1
    assert made(torch.tensor([[0.0, 0.1, 5.0]]), torch.zeros(1, 3).long()).isfinite().all()


def test_no_gap_is_further_off_than_the_rarest():
    made = embedding(marks=1)
    tokens = made(torch.tensor([[0.0, math.exp(-5 * 1.7 - 0.4), 1e-30]]), torch.zeros(1, 3).long())
    torch.testing.assert_close(tokens[:, 1:], tokens[:, :2], rtol=1e-4, atol=1e-4)  # LEAST is added to a gap


@pytest.mark.parametrize("labels", [False, True])
def test_a_clock_is_the_same_however_a_sequence_is_split(labels):
    made = embedding(clock=5, bins=8, levels=LEVELS, labels=labels).double()
    gap, mark, mask = events()
    mark = torch.nn.functional.one_hot(mark, 5).bool() if labels else mark
    whole = made(gap.double(), mark, mask)
    state, parts = made.start(len(gap)), []
    for a, b in ((0, 1), (1, 1), (1, gap.shape[1])):
        state, tokens = made.scan(state, gap[:, a:b].double(), mark[:, a:b], mask[:, a:b])
        parts.append(tokens)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state[0], gap.double().masked_fill(~mask, 0).sum(1))
