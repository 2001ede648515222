"""Laws of every stem × encoder × pooling of labelled series: a new one is added to a list and gets its tests."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.heads import FlatLabel, Pool
from forecast.heads.label_chain import LabelChain
from forecast.models import LSTM, TCNCA, Aaren, FlatSeries, Identity, Informer, Linear, SeriesEmbedding, Transformer
from forecast.models.base import bytes_per_series, leaves
from forecast.types import LabelBatch, LabelSpec

C, K, LONGEST, D = 3, 4, 29, 8
STEMS = {
    "plain": {"kernel": 3, "stride": 1, "layers": 0, "norm": "none", "activation": "none", "position": True},
    "strided": {"kernel": 7, "stride": 3, "layers": 2, "factor": 2, "position": True, "dropout": 0.1},
    "patches": {"kernel": 4, "stride": 4, "layers": 1, "norm": "layer", "activation": "silu", "block_kernel": 2},
    "dense": {"kernel": 5, "stride": 1, "layers": 3, "factor": 3, "block_dropout": 0.1},
    "points": {"kernel": 1, "stride": 1, "layers": 1, "block_kernel": 1, "activation": "relu"},
    "auto": {"longest": LONGEST, "tokens": 12, "layers": 1},
    "flat": None,
}
STREAMING = {
    "none": lambda d: Identity(d_model=d),
    "aaren": lambda d: Aaren(d_model=d, heads=1, d_ff=16, dropout=0.1),
    "aaren-window": lambda d: Aaren(d_model=d, heads=1, d_ff=16, window=4, decay=None, norm_first=True),
    "lstm": lambda d: LSTM(d_model=d, layers=2, residual=True, dropout=0.1),
    "tcnca": lambda d: TCNCA(d_model=d, d_key=4, d_ff=8, chunk=5, kernel=3, factor=2, depth=2, dropout=0.1),
    "transformer": lambda d: Transformer(d_model=d, heads=1, d_ff=16, layers=2, causal=True, window=6, sinks=1),
}
ENCODERS = {
    **STREAMING,
    "linear": lambda d: Linear(d_model=d, decompose=0),
    "informer": lambda d: Informer(
        d_model=d, heads=1, d_ff=16, factor=1, causal=True, aligned=True, nominal=LONGEST, dropout=0.1
    ),
    "transformer-both-ways": lambda d: Transformer(d_model=d, heads=1, d_ff=16, layers=2),
}
HEADS = ("mean", "last", "max", "attention", "mean+attention+last", "flat")
EVERY = [
    *((stem, encoder, "mean") for stem in ("strided", "points") for encoder in ENCODERS),
    *((stem, "lstm", "mean+max") for stem in STEMS),
    *((stem, "aaren", head) for stem in ("strided", "dense", "flat") for head in HEADS[1:]),
]
SPEC = LabelSpec(("a", "b", "c"), ("",) * C, ("w", "x", "y", "z"), LONGEST, 1, True)


def build(stem: str, encoder: str, head: str, *, missing: bool = True) -> LabelChain:
    """In float64 and evaluation, with norms that have seen data."""
    torch.manual_seed(0)
    words = STEMS[stem]
    embed = (
        FlatSeries(channels=C, missing=missing) if words is None
        else SeriesEmbedding(channels=C, missing=missing, d_model=D, **words)
    )  # fmt: skip
    body = ENCODERS[encoder](embed.d_model)
    made = (
        FlatLabel(d_memory=embed.d_model, length=embed.length(LONGEST), classes=K) if head == "flat"
        else Pool(d_memory=embed.d_model, classes=K, pool=head, dropout=0.1)
    )  # fmt: skip
    chain = LabelChain(embed=embed, encoder=body, head=made, spec=SPEC, skip=stem == "auto").double()
    for part in chain.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    return chain.eval()


def batch(*lengths: int, missing: float = 0.2, seed: int = 0) -> LabelBatch:
    g = torch.Generator().manual_seed(seed)
    b, longest = len(lengths), max(lengths)
    length = torch.tensor(lengths)
    steps = (torch.arange(longest) < length[:, None])[..., None]
    mask = (torch.rand(b, longest, C, generator=g) >= missing) & steps
    values = torch.randn(b, longest, C, generator=g, dtype=torch.float64) * mask
    return LabelBatch(values, mask, length, torch.arange(b) % K, torch.arange(b))


def cut(x: LabelBatch, row: int, length: int | None = None) -> LabelBatch:
    """One row, as if it ended after `length` steps."""
    some = slice(0, int(x.length[row]) if length is None else length)
    return LabelBatch(
        x.values[row : row + 1, some], x.mask[row : row + 1, some], torch.tensor([some.stop]), x.label[row : row + 1],
        x.series[row : row + 1],
    )  # fmt: skip


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=EVERY, ids="/".join)
def names(request):
    return request.param


@pytest.fixture(params=[n for n in EVERY if n[1] in STREAMING], ids="/".join)
def streamed(request):
    return build(*request.param)


LENGTHS = (29, 12, 1, 17, 4)


def test_a_padded_series_gives_exactly_the_result_of_the_unpadded_one(names):
    chain, x = build(*names), batch(*LENGTHS)
    together = chain(x)
    assert together.shape == (5, K)
    assert together.isfinite().all()
    close(together, torch.cat([chain(cut(x, i)) for i in range(5)]))


def test_what_stands_in_padding_and_under_the_mask_changes_nothing(names):
    chain, x = build(*names), batch(*LENGTHS)
    hidden = x._replace(values=torch.where(x.mask, x.values, torch.nan))
    assert chain(x).equal(chain(hidden))


def test_in_single_precision_too(names):
    chain, x = build(*names).float(), batch(*LENGTHS)
    x = x._replace(values=x.values.float())
    alone = torch.cat([chain(cut(x, i)) for i in range(5)])
    torch.testing.assert_close(chain(x), alone, rtol=2e-4, atol=2e-5)


def test_training_learns_every_parameter_and_padding_leaves_its_statistics_alone(names):
    chain, x = build(*names).train(), batch(*LENGTHS)
    for part in chain.modules():
        if hasattr(part, "p"):
            part.p = 0.0
    chain(x).square().mean().backward()
    idle = [n for n, p in chain.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []
    other = build(*names).train()
    for part in other.modules():
        if hasattr(part, "p"):
            part.p = 0.0
    pad = torch.nn.functional.pad
    wider = x._replace(values=pad(x.values, (0, 0, 0, 6), value=9.0), mask=pad(x.mask, (0, 0, 0, 6)))
    if names[2] != "flat":
        other(wider)
        for a, b in zip(chain.buffers(), other.buffers(), strict=True):
            if a.is_floating_point() and a.shape == b.shape:
                close(a, b)


def test_running_logits_are_those_of_the_series_that_ends_there(streamed):
    x, row = batch(29), 0
    _, logits = streamed.scan(streamed.start(1), x.values, x.mask)
    close(logits[0], torch.cat([streamed(cut(x, row, n)) for n in range(1, 30)]))


def test_a_step_that_did_not_happen_changes_nothing(streamed):
    """Each row has its own gaps, and its logits are those of its steps put together."""
    x = batch(29, 29, 29)
    steps = torch.rand(3, 29, generator=torch.Generator().manual_seed(1)) > 0.4
    steps[0, :5], steps[2] = False, False
    values = torch.where(steps[..., None], x.values, torch.nan)
    begin = streamed.start(3)
    state, logits = streamed.scan(begin, values, x.mask, steps)
    assert logits.isfinite().all()
    for i in (0, 1):
        some = steps[i]
        alone, want = streamed.scan(streamed.start(1), x.values[i : i + 1, some], x.mask[i : i + 1, some])
        close(logits[i, some], want[0])
        for a, b in zip(leaves(state), leaves(alone), strict=True):
            close(a[i], b[0])
    assert all(a[2].equal(b[2]) for a, b in zip(leaves(state), leaves(begin), strict=True))
    only = torch.tensor([[False], [False], [True]])
    after, logits = streamed.scan(state, x.values[:, :1], x.mask[:, :1], only)
    close(logits[2, 0], streamed(cut(x, 2, 1))[0])
    assert all(a[:2].equal(b[:2]) for a, b in zip(leaves(after), leaves(state), strict=True))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(("encoder", "head"), [("lstm", "mean+max"), ("transformer", "attention"), ("aaren", "flat")])
@settings(max_examples=12, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 29), max_size=6).map(sorted),
    before=st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
def test_any_split_gives_the_same_logits_and_the_same_state(stem, encoder, head, cuts, before):
    """Rows that are at different steps of their tokens, one of them padded."""
    chain, x = build(stem, encoder, head), batch(29, 29, 29)
    cuts = [c for c in cuts if c <= 20]
    warm = torch.arange(5) < torch.tensor(before)[:, None]
    begin, _ = chain.scan(chain.start(3), x.values[:, 20:25], x.mask[:, 20:25], warm)
    x = batch(20, 20, 13, seed=1)
    steps = torch.arange(20) < x.length[:, None]
    whole, want = chain.scan(begin, x.values, x.mask, steps)
    state, out = begin, []
    for a, b in zip([0, *cuts], [*cuts, 20], strict=True):
        state, logits = chain.scan(state, x.values[:, a:b], x.mask[:, a:b], steps[:, a:b])
        out.append(logits)
    close(torch.cat(out, 1), want)
    for a, b in zip(leaves(state), leaves(whole), strict=True):
        close(a, b)


def test_the_state_does_not_grow_and_has_a_row_for_each_series(streamed):
    state, sizes, x = streamed.start(2), set(), batch(29, 29)
    for t in range(29):
        state, _ = streamed.scan(state, x.values[:, t : t + 1], x.mask[:, t : t + 1])
        sizes.add(bytes_per_series(state))
    assert sizes == {bytes_per_series(streamed.start(1))}
    assert all(len(leaf) == 2 for leaf in leaves(state))


@pytest.mark.parametrize("stem", ["strided", "dense"])
@pytest.mark.parametrize("encoder", ["aaren", "informer", "linear"])
def test_the_future_reaches_no_earlier_token(stem, encoder):
    chain, x = build(stem, encoder, "mean"), batch(29, 25)
    edited = x._replace(values=torch.cat([x.values[:, :15], x.values[:, 15:] + 100.0], 1))
    until = 15 // chain.embed.stride

    def memory(x: LabelBatch) -> torch.Tensor:
        return chain.encoder(chain.embed(x.values, x.mask))[:, :until]

    assert memory(x).equal(memory(edited))


def test_complete_series_need_no_mask(names):
    stem, encoder, head = names
    chain, x = build(stem, encoder, head, missing=False), batch(20, 20, missing=0.0)
    longer = x._replace(**{
        "values": torch.nn.functional.pad(x.values, (0, 0, 0, 3)), "mask": torch.nn.functional.pad(x.mask, (0, 0, 0, 3))
    })  # fmt: skip
    close(chain(x), chain(longer))


def test_the_way_past_the_encoder():
    plain, x = build("plain", "aaren", "last"), batch(9, 9)
    again = LabelChain(embed=plain.embed, encoder=plain.encoder, head=plain.head, spec=SPEC, skip=True)
    tokens = plain.embed(x.values, x.mask)
    close(again(x), plain.head(tokens + plain.encoder(tokens)))
    bare = build("plain", "none", "last")
    close(LabelChain(embed=bare.embed, encoder=bare.encoder, head=bare.head, spec=SPEC, skip=True)(x), bare(x))


def test_what_cannot_be_a_chain_is_refused():
    embed, pool = FlatSeries(channels=C), Pool(d_memory=C, classes=K)
    with pytest.raises(ValueError, match="decompose=0"):
        LabelChain(embed=embed, encoder=Linear(d_model=C), head=pool, spec=SPEC)
    assert not build("plain", "informer", "mean").streams
    assert not build("plain", "transformer-both-ways", "mean").streams
    assert build("plain", "lstm", "mean").streams
