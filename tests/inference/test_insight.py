"""What is said of a model must be true of it: weights are those that its layers use, kept queries those that attend,
gradients those of autograd, importance 0 for what no forecast uses."""

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.batch import Gather
from forecast.data.window import Windows
from forecast.inference.insight.importance import Column, budget, columns_of, importance, permuted, sizes
from forecast.inference.insight.mixing import kept_queries, mixing, recorded, weights
from forecast.inference.insight.mixing import prefix_weights as of_aaren
from forecast.inference.insight.mixing import transformer_scores as of_transformer
from forecast.inference.insight.reach import by_construction, gradients, of_encoder, told
from forecast.models.aaren import Aaren, PrefixLayer
from forecast.models.attention import Attention
from forecast.models.informer import Informer
from forecast.models.lstm import LSTM
from forecast.models.transformer import Transformer, TransformerLayer
from forecast.ops.selection import budget as kept_budget
from forecast.types import SeriesBatch, Spec
from tests.models.test_streaming import STREAMING, D, inputs, tcnca

LENGTH = 23
AARENS = [name for name in STREAMING if name.startswith("aaren")]
TRANSFORMERS = [name for name in STREAMING if name.startswith("transformer")]


def attended(encoder, layer: type, x, mask):
    """What each attention of these layers gave, (B, H, L, E), by the layer's own output projection."""
    with recorded(encoder, (layer,)) as calls, recorded(encoder, (torch.nn.Linear,)) as maps, torch.no_grad():
        encoder(x, mask)
    outs = {id(call.module): call.given[0] for call in maps}
    return [(call, outs[id(call.module.out_projection)]) for call in calls]


@pytest.mark.parametrize("name", AARENS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_weights_of_aaren_are_those_it_uses_and_sum_to_1(name, masked):
    torch.manual_seed(1)
    encoder, (x, mask, _) = STREAMING[name]().double().eval(), inputs()
    mask = mask if masked else None
    for call, out in attended(encoder, PrefixLayer, x, mask):
        w = weights(of_aaren(encoder, call), torch.arange(LENGTH))
        seen = torch.ones(3, LENGTH, dtype=torch.bool) if mask is None else mask.cumsum(1) > 0
        assert torch.allclose(w.sum(-1), seen[:, None].double().expand(w.shape[:3]))
        assert not w.triu(1).any()
        layer = call.module
        y = layer.norm1(call.given[1]) if layer.norm_first else call.given[1]
        v = layer.value_projection(y).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        mine = (w @ v).transpose(1, 2).flatten(2)
        there = torch.ones(3, LENGTH, dtype=torch.bool) if mask is None else mask
        assert torch.allclose(mine[there], out[there], atol=1e-6)  # ages are summed up in another order


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_weights_of_a_transformer_are_those_it_uses(causal, masked):
    torch.manual_seed(1)
    encoder = Transformer(d_model=D, heads=2, d_ff=16, layers=2, causal=causal, norm_first=masked).double().eval()
    x, mask, _ = inputs()
    mask = mask if masked else None
    for call, out in attended(encoder, TransformerLayer, x, mask):
        w = weights(of_transformer(encoder, call, mask), torch.arange(LENGTH))
        layer = call.module
        y = layer.norm1(call.given[0]) if layer.norm_first else call.given[0]
        v = layer.value_projection(y).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        assert torch.allclose((w @ v).transpose(1, 2).flatten(2), out, atol=1e-9)


@pytest.mark.parametrize("name", [*AARENS, *TRANSFORMERS])
def test_what_is_told_of_weights_follows_from_them(name):
    torch.manual_seed(1)
    encoder, (x, _, _) = STREAMING[name]().double().eval(), inputs(length=9)
    layers, frames = mixing(encoder, x, None)
    table = pl.concat(frames)
    assert len(layers) == len(encoder.layers)
    last = table.filter(pl.col("part") == "weight")
    sums = last.group_by("window", "layer", "head").agg(pl.col("value").sum())["value"]
    assert np.allclose(sums, 1, atol=1e-5)
    for part, low, high in (("newest", 0, 1 + 1e-6), ("effective", 1 - 1e-6, 9 + 1e-6)):
        values = table.filter(pl.col("part") == part)["value"]
        assert low <= values.min() and values.max() <= high
    w = last.filter(pl.col("window") == 0, pl.col("layer") == 0, pl.col("head") == 0).sort("step")["value"].to_numpy()
    end = table.filter(pl.col("window") == 0, pl.col("layer") == 0, pl.col("head") == 0, pl.col("step") == 8)
    assert end.filter(pl.col("part") == "effective")["value"][0] == pytest.approx(1 / (w**2).sum(), rel=1e-4)
    assert end.filter(pl.col("part") == "newest", pl.col("k") == 4)["value"][0] == pytest.approx(w[-4:].sum(), rel=1e-4)


# Informer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_kept_queries_are_the_u_largest_of_the_measure(causal):
    torch.manual_seed(0)
    rank = "prefix" if causal else "global"
    attention = Attention(D, 2, kind="prob", factor=2, causal=causal, rank=rank, lazy="mean").eval()
    x = torch.randn(3, 40, D)
    found = kept_queries(attention, x, None)
    assert found.u == kept_budget(40, 2) == 8
    assert found.sampled == 8
    if causal:
        best = [found.measure[..., : i + 1].topk(min(8, i + 1)).values[..., -1] for i in range(40)]
        assert found.kept.equal(found.measure >= torch.stack(best, -1))
    else:
        assert found.kept.sum(-1).eq(8).all()
        assert found.measure.topk(8).indices.sort(-1).values.equal(found.kept.nonzero()[:, 2].view(3, 2, 8))


def test_queries_that_are_not_kept_get_the_mean_of_the_values():
    torch.manual_seed(0)
    attention = Attention(D, 2, kind="prob", factor=1, lazy="mean").eval()
    x = torch.randn(2, 30, D)
    kept = kept_queries(attention, x, None).kept
    with recorded(attention, (torch.nn.Linear,)) as maps, torch.no_grad():
        attention(x)
    out = maps[-1].given[0].unflatten(-1, (2, -1)).transpose(1, 2)
    mean = attention.value_projection(x).unflatten(-1, (2, -1)).transpose(1, 2).mean(2, keepdim=True)
    lazy = torch.isclose(out, mean, atol=1e-6).all(-1)
    assert lazy.equal(~kept)


def test_informer_tells_the_length_after_each_layer_and_where_its_tokens_stand():
    torch.manual_seed(0)
    encoder = Informer(d_model=D, heads=2, d_ff=16, layers=(3, 2), factor=1).eval()
    x = torch.randn(2, 30, D)
    layers, frames = mixing(encoder, x, None)
    facts = [(each["stack"], each["tokens"], each["stride"], each["offset"], each["after"]) for each in layers]
    assert facts == [(0, 30, 1, 0, 15), (0, 15, 2, 0, 8), (0, 8, 4, 0, 8), (1, 15, 1, 15, 8), (1, 8, 2, 15, 8)]
    table = pl.concat(frames)
    assert table.height == 2 * 2 * (30 + 15 + 8 + 15 + 8)
    assert table.filter(pl.col("kept"))["layer"].n_unique() == 5


# Reach ------------------------------------------------------------------------------------------------------

CAUSAL = {**STREAMING, "informer": lambda: Informer(d_model=D, heads=2, d_ff=16, causal=True, aligned=True)}


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_encoder_has_no_gradient_from_the_future(name):
    torch.manual_seed(2)
    encoder, (x, _, _) = CAUSAL[name]().double().eval(), inputs()
    norms = gradients(lambda tokens: encoder(tokens)[:, 11], x).square().sum(-1)
    assert not norms[:, 12:].any()
    assert norms[:, 11].all()


@pytest.mark.parametrize("name", STREAMING)
def test_no_gradient_lies_beyond_the_reach_by_construction(name):
    torch.manual_seed(3)
    encoder, (x, _, _) = STREAMING[name]().double().eval(), inputs()
    norms, of = of_encoder(encoder, x, None)
    assert of == "last"
    assert max(told(norms)["reaches"]) <= by_construction(encoder, LENGTH).tokens


@pytest.mark.parametrize(("words", "length", "tokens"), [
    ({"layers": 1, "chunk": 4, "kernel": 2, "factor": 2, "depth": 1}, 12, 4 + 1),
    ({"layers": 1, "chunk": 4, "kernel": 3, "factor": 2, "depth": 2}, 14, 2 + 6),
    ({"layers": 2, "chunk": 4, "kernel": 2, "factor": 2, "depth": 1}, 12, 9),
    ({"layers": 1, "mixer": "ema", "chunk": 4}, 12, 12),
])  # fmt: skip
def test_tcnca_reaches_exactly_as_far_as_its_chunks_and_convolutions_say(words, length, tokens):
    torch.manual_seed(4)
    encoder = tcnca(**words).double().eval()
    assert by_construction(encoder, length).tokens == tokens
    assert told(of_encoder(encoder, torch.randn(2, length, D).double(), None)[0])["reaches"] == [tokens, tokens]


def test_a_window_bounds_the_reach_of_aaren_and_of_a_transformer():
    torch.manual_seed(5)
    x = torch.randn(2, 20, D).double()
    for made in (Aaren(d_model=D, heads=2, d_ff=16, layers=2, window=4),
                 Transformer(d_model=D, heads=2, d_ff=16, layers=2, causal=True, window=4)):  # fmt: skip
        encoder = made.double().eval()
        assert by_construction(encoder, 20).tokens == 7
        assert told(of_encoder(encoder, x, None)[0])["reaches"] == [7, 7]


def test_gradients_are_those_of_the_jacobian_and_signs_estimate_them():
    torch.manual_seed(6)
    encoder = LSTM(d_model=D).double().eval()
    x = torch.randn(1, 7, D).double()
    few = gradients(lambda z: encoder(z)[:, -1], x)  # D numbers: exact
    jacobian = torch.autograd.functional.jacobian(lambda z: encoder(z)[0, -1], x)
    assert torch.allclose(few, jacobian.square().sum(0).sqrt())
    many = gradients(encoder, x).square().sum(-1)  # 7·D: by signs
    whole = torch.autograd.functional.jacobian(lambda z: encoder(z)[0], x).square().sum((0, 1, -1))
    assert torch.allclose(many.sqrt(), whole.sqrt(), rtol=0.35)
    assert many.equal(gradients(encoder, x).square().sum(-1))  # and always the same signs


def test_gradients_leave_parameters_and_the_global_generator_alone():
    encoder, x = LSTM(d_model=D).eval(), torch.randn(1, 7, D)
    before = torch.get_rng_state()
    gradients(encoder, x)
    assert torch.get_rng_state().equal(before)
    assert all(parameter.grad is None for parameter in encoder.parameters())


# Importance -------------------------------------------------------------------------------------------------


SPEC = Spec(("y", "drives", "noise"), 1, ("",) * 3, ("hour",), 6, 2, "h", 1)


@pytest.fixture
def problem() -> tuple[Gather, Windows]:
    """A target that is the channel `drives` two steps before."""
    rng = np.random.default_rng(0)
    drives, noise = rng.normal(size=(2, 400))
    values = np.stack([np.roll(drives, 2) + 0.01 * rng.normal(size=400), drives, noise], 1)
    clock = np.arange(400.0)[:, None] % 24
    gather = Gather(values, clock.astype(np.float32), targets=1, context=6, horizon=2)
    return gather, Windows(np.array([6]), np.array([0, 393]), 1, 6, 2)


def test_importance_is_0_for_what_is_not_used_about_0_for_noise_and_large_for_the_cause(problem):
    gather, windows = problem

    def forecast(batch: SeriesBatch):
        return batch.past[:, -2:, 1:2] + 0.02 * batch.past[:, -2:, 2:3]

    found = importance(forecast, gather, windows, SPEC, seed=3)
    rows = {row["column"]: row for row in found["rows"]}
    assert list(rows) == ["own past", "drives", "noise", "calendar"]
    assert rows["own past"]["mean"] == rows["calendar"]["mean"] == 0.0
    assert abs(rows["noise"]["mean"]) <= 3 * max(rows["noise"]["se"], 1e-12)
    assert rows["drives"]["mean"] == pytest.approx(2.0, rel=0.2)  # twice the variance
    assert rows["drives"]["mean"] > 10 * rows["drives"]["se"]
    assert found == importance(forecast, gather, windows, SPEC, seed=3)
    assert found != importance(forecast, gather, windows, SPEC, seed=4)


def test_a_missing_value_moves_with_its_column(problem):
    gather, _ = problem
    batch = gather(torch.tensor([10, 20]), torch.tensor([0, 0]))
    batch = batch._replace(past_mask=batch.past_mask.clone())
    batch.past_mask[0, 0, 1] = False
    moved = permuted(batch, Column("drives", "past", (1,)), SPEC, torch.tensor([1, 0]))
    assert moved.past_mask[1, 0, 1].item() is False
    assert moved.past[..., 1].equal(batch.past[[1, 0]][..., 1])
    assert moved.past[..., [0, 2]].equal(batch.past[..., [0, 2]])


def test_a_covariate_moves_with_its_future_and_its_mask():
    spec = SPEC._replace(known=("k1", "k2"), behind=("b",), static=("s",), sizes=(0,) * 4, masks=True)
    assert [(c.name, c.role, c.at) for c in columns_of(spec)][3:-1] == [
        ("k1", "known", (0,)), ("k2", "known", (1,)), ("b", "behind", (2,)), ("s", "static", (0,)),
    ]  # fmt: skip
    past, future, static = torch.randn(2, 6, 6), torch.randn(2, 2, 4), torch.randn(2, 1)
    empty = torch.zeros(2, 0)
    batch = SeriesBatch(empty, empty, empty, empty, empty, empty, empty, empty, past, future, static)
    order = torch.tensor([1, 0])
    moved = permuted(batch, Column("k2", "known", (1,)), spec, order)
    assert moved.known_past[..., [1, 4]].equal(past[order][..., [1, 4]])
    assert moved.known_past[..., [0, 2, 3, 5]].equal(past[..., [0, 2, 3, 5]])
    assert moved.known_future[..., [1, 3]].equal(future[order][..., [1, 3]])
    assert moved.known_future[..., [0, 2]].equal(future[..., [0, 2]])
    moved = permuted(batch, Column("b", "behind", (2,)), spec, order)
    assert moved.known_past[..., [2, 5]].equal(past[order][..., [2, 5]])
    assert moved.known_future.equal(future)
    assert permuted(batch, Column("s", "static", (0,)), spec, order).static.equal(static[order])


def test_the_budget_of_importance_is_one_of_counts():
    assert [budget(trained) for trained in (0, 20_000, 10**7)] == [2_048, 3_000, 8_192]
    assert sizes(2, 10_000, 8_192) == (512, 5)
    assert sizes(8, 10_000, 8_192) == (204, 5)
    assert sizes(96, 10_000, 2_048) == (32, 2)
    assert sizes(3, 20, 2_048) == (20, 5)
