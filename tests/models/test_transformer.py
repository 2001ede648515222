"""Transformer against attention over all pairs of steps, written out; its window, its sinks, its cache."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from forecast.models import Transformer
from forecast.models.base import bytes_per_series, leaves

D, HEADS = 8, 2


def encoder(**given) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(**{"d_model": D, "heads": HEADS, "d_ff": 12, "causal": True, **given}).double().eval()
    for name, p in model.named_parameters():  # norms that are not the identity
        if "norm" in name:
            nn.init.normal_(p, 0.5)
    return model


def some(batch: int = 3, length: int = 150, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(batch, length, generator=g) > 0.3
    mask[0, :4], mask[1] = False, True
    return torch.randn(batch, length, D, generator=g, dtype=torch.float64), mask


def may_see(row: list[bool], t: int, model: Transformer) -> list[int]:
    """The steps that step t of one row sees, by counting."""
    past = [i for i in range(t + 1) if row[i]]
    return (
        sorted({*past[-model.window :], *past[: model.sinks]}) if model.causal else [i for i, s in enumerate(row) if s]
    )


def dense(model: Transformer, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The whole encoder, a step at a time."""
    e = D // HEADS
    for layer in model.layers:
        y = layer.norm1(x) if model.layers[0].norm_first else x
        q, k, v = layer.query_projection(y), layer.key_projection(y), layer.value_projection(y)
        mixed = torch.zeros_like(x)
        for b, row in enumerate(mask.tolist()):
            for t in range(x.shape[1]):
                seen = may_see(row, t, model)
                for at in (slice(h * e, h * e + e) for h in range(HEADS)):
                    if seen:
                        weights = (k[b, seen, at] @ q[b, t, at] / math.sqrt(e)).softmax(0)
                        mixed[b, t, at] = weights @ v[b, seen, at]
        x = x + layer.out_projection(mixed)
        if not layer.norm_first:
            x = layer.norm1(x)
        y = layer.norm2(x) if layer.norm_first else x
        x = x + layer.feed.conv2(F.gelu(layer.feed.conv1(y)))
        if not layer.norm_first:
            x = layer.norm2(x)
    return model.norm(x)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("given", [
    {"window": 200}, {"window": 7}, {"window": 5, "sinks": 3, "norm_first": True}, {"window": 1, "sinks": 1},
    {"window": 70, "sinks": 2}, {"causal": False}, {"causal": False, "norm_first": True},
])  # fmt: skip
def test_it_is_attention_over_the_steps_it_may_see(given, masked):
    model, (x, mask) = encoder(layers=2, **given), some(length=100)
    mask = mask if masked else torch.ones_like(mask)
    y = model(x, mask if masked else None)
    with torch.no_grad():
        want = dense(model, x.masked_fill(~mask[..., None], 0), mask)
    torch.testing.assert_close(y[mask], want[mask], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_own_layer_gives_the_same(norm_first):
    model, (x, mask) = encoder(causal=False, norm_first=norm_first), some()
    theirs = nn.TransformerEncoderLayer(
        D, HEADS, 12, 0.0, "gelu", batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    weights = model.layers[0].state_dict()
    packed = {
        f"self_attn.in_proj_{kind}": torch.cat(
            [weights[f"{part}_projection.{kind}"] for part in ("query", "key", "value")]
        )
        for kind in ("weight", "bias")
    }
    names = {"out_projection": "self_attn.out_proj", "feed.conv1": "linear1", "feed.conv2": "linear2"}
    for name, value in weights.items():
        part, kind = name.rsplit(".", 1)
        if part.startswith("norm") or part in names:
            packed[f"{names.get(part, part)}.{kind}"] = value
    theirs.load_state_dict(packed)
    want = theirs.train()(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(model(x, mask)[mask], model.norm(want)[mask], rtol=1e-10, atol=1e-11)


def test_the_layer_of_aarens_paper_has_its_number_of_parameters():
    assert sum(p.numel() for p in Transformer(d_model=512, heads=8, d_ff=2048).parameters()) == 3_152_384


@pytest.mark.parametrize("sinks", [0, 2])
def test_a_step_reaches_the_window_after_it_and_a_sink_all(sinks):
    model, (x, _) = encoder(window=6, sinks=sinks), some()
    for at in (0, 1, 2, 90):
        edited = x.clone()
        edited[:, at] += 1
        moved = (model(edited) != model(x)).any(-1).any(0).nonzero().flatten()
        assert moved.tolist() == list(range(at, x.shape[1] if at < sinks else at + 6))


def test_the_window_counts_observed_steps():
    """What was not observed takes no place in it: with the gaps cut out, the rest is the same."""
    model, (x, mask) = encoder(layers=2, window=6, sinks=1), some(batch=2)
    y = model(x, mask)
    for row in range(2):
        torch.testing.assert_close(y[row, mask[row]], model(x[row : row + 1, mask[row]])[0], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("sinks", [0, 3])
def test_the_cache_holds_the_last_keys_in_turn(sinks):
    model, (x, mask) = encoder(window=5, sinks=sinks), some(batch=2, length=90)
    state, _ = model.scan(model.start(2, dtype=torch.float64), x, mask)
    for row in range(2):
        seen = x[row, mask[row]]
        assert state.seen[row] == len(seen)
        held = [*range(sinks), *range(len(seen) - 5, len(seen))]
        places = [n if n < sinks else sinks + (n - sinks) % 5 for n in held]
        keys = model.layers[0].key_projection(seen[held]).unflatten(-1, (HEADS, -1)).transpose(0, 1)
        torch.testing.assert_close(state.keys[0][row][:, places], keys, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_has_the_size_that_is_said(dtype):
    model = encoder(layers=3, window=10, sinks=2).to(dtype)
    state, y = model.scan(model.start(2, dtype=dtype), torch.randn(2, 4, D, dtype=dtype))
    assert y.dtype == dtype
    assert {leaf.dtype for leaf in leaves(state)} == {torch.float32, torch.int64}
    assert bytes_per_series(state) == 8 + 4 * 2 * 3 * 12 * D


@pytest.mark.parametrize("causal", [False, True])
def test_nothing_observed_is_finite_and_missing_numbers_reach_nothing(causal):
    model, (x, mask) = encoder(causal=causal, layers=2, window=8), some(length=20)
    mask[2] = False
    for length in (5, 20):
        x = torch.where(mask[..., None], x, torch.nan)
        assert model(x[:, :length], mask[:, :length]).isfinite().all()


def test_without_causal_it_does_not_stream():
    model, (x, _) = encoder(causal=False), some()
    assert not model.causal
    for call in (lambda: model.start(3), lambda: model.scan(None, x), lambda: model.step(None, x[:, 0])):
        with pytest.raises(TypeError, match=r"^[^\n]*set model.causal=true or task.causal=true$"):
            call()


@pytest.mark.parametrize(("given", "message"), [
    ({"heads": 3}, "not a multiple of heads 3"), ({"layers": 0}, "all must be at least 1"),
    ({"window": 0}, "window is 0"), ({"sinks": -1}, "sinks -1"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match=rf"^[^\n]*{message}"):
        encoder(**given)
