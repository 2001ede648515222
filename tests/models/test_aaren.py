"""Aaren against dense softmax attention with the same weights, in float64, and what decay and window are for."""

import math

import pytest
import torch
from torch.nn import functional as F

from forecast.models.aaren import Aaren, PrefixLayer
from forecast.models.base import bytes_per_series, leaves
from forecast.models.window import empty_ring, window_attention
from forecast.ops import prefix_attention

D, HEADS = 8, 2
SETTINGS = {
    "plain": {"decay": None},
    "decay": {"decay": 0.25},
    "learned": {"decay": 0.25, "learn_decay": True, "spread": 2.0},
    "window": {"decay": None, "window": 4},
    "window-decay": {"decay": 0.25, "spread": 4.0, "window": 5},
}


def made(seed: int = 0, **settings) -> Aaren:
    torch.manual_seed(seed)
    sizes = {"d_model": D, "heads": HEADS, "d_ff": 16, "layers": 2}
    return Aaren(**{**sizes, **settings}).double().eval()


def inputs(length: int = 29, batch: int = 3, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, D, generator=g, dtype=torch.float64)
    mask = torch.rand(batch, length, generator=g) > 0.35
    mask[0, :4] = False
    mask[1] = True
    return x, mask, 0.2 + 2 * torch.rand(batch, length, generator=g, dtype=torch.float64)


def rates(layer: PrefixLayer, settings: dict) -> list[float]:
    """What the settings say of each head."""
    spread = settings.get("spread", 1.0)
    return [(settings["decay"] or 0.0) * spread ** (2 * h / (HEADS - 1) - 1) for h in range(HEADS)]


def dense(layer: PrefixLayer, x, mask, dt, settings):
    """One head and one row after another: a softmax over the observed steps that a step may see."""
    query = layer.query_projection(layer.query).view(HEADS, -1)
    keys, values = (p(x).unflatten(-1, (HEADS, -1)) for p in (layer.key_projection, layer.value_projection))
    out = torch.zeros_like(values)
    for b in range(len(x)):
        seen = [t for t in range(x.shape[1]) if mask[b, t]]
        clock = torch.cumsum(dt[b] * mask[b], 0)
        for h, rate in enumerate(rates(layer, settings)):
            for n, t in enumerate(seen):
                past = seen[: n + 1][-(settings.get("window") or 10**9) :]
                scores = keys[b, past, h] @ query[h] / math.sqrt(D // HEADS) - rate * (clock[t] - clock[past])
                out[b, t, h] = torch.softmax(scores, 0) @ values[b, past, h]
    mixed = layer.out_projection(out.flatten(2))
    x = F.layer_norm(x + mixed, (D,), layer.norm1.weight, layer.norm1.bias)
    fed = layer.feed.conv2(F.gelu(layer.feed.conv1(x)))
    return F.layer_norm(x + fed, (D,), layer.norm2.weight, layer.norm2.bias)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stack_is_softmax_attention_with_a_learned_query(name):
    model, (x, mask, dt) = made(**SETTINGS[name]), inputs()
    want = x
    for layer in model.layers:
        want = dense(layer, want, mask, dt, SETTINGS[name])
    assert (model(x, mask, dt) - want)[mask].abs().max() < (1e-12 if name != "learned" else 1e-7)  # rates are float32
    everything, ones = torch.ones_like(mask), torch.ones_like(dt)
    assert model(x).allclose(model(x, everything, ones), rtol=0, atol=1e-13)


def test_norm_first_leaves_the_residual_untouched():
    model, (x, _, _) = made(norm_first=True, layers=1), inputs()
    (layer,) = model.layers
    with torch.no_grad():
        layer.out_projection.weight.zero_()
        layer.out_projection.bias.zero_()
        layer.feed.conv2.weight.zero_()
        layer.feed.conv2.bias.zero_()
    torch.testing.assert_close(model(x), F.layer_norm(x, (D,)))


@pytest.mark.parametrize(("sizes", "count"), [((512, 8, 2048), 3_152_896), ((512, 4, 2048), 3_152_896)])
def test_a_layer_has_a_transformers_parameters_and_one_token(sizes, count):
    d, heads, d_ff = sizes
    model = Aaren(d_model=d, heads=heads, d_ff=d_ff, layers=1)
    assert sum(p.numel() for p in model.parameters()) == count
    standard = torch.nn.TransformerEncoderLayer(d, heads, d_ff)
    assert count - sum(p.numel() for p in standard.parameters()) == d


@pytest.mark.parametrize("name", SETTINGS)
def test_without_gradients_scores_are_one_map_of_the_token(name):
    model, (x, mask, dt) = made(**SETTINGS[name]), inputs()
    unfolded = model(x, mask, dt)
    calls = []
    for layer in model.layers:
        layer.key_projection.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        folded = model(x, mask, dt)
        assert not calls
        assert (folded - unfolded)[mask].abs().max() < 1e-12
        for layer in model.layers:  # weights may change at any time
            layer.query.normal_()
            layer.key_projection.weight.mul_(2)
        again = model(x, mask, dt)
    assert (again - model(x, mask, dt))[mask].abs().max() < 1e-12
    assert (again - folded)[mask].abs().max() > 1e-3


def test_a_stream_may_change_between_the_two_forms():
    model, (x, _, _) = made(), inputs()
    state, _ = model.scan(model.start(3, dtype=x.dtype), x[:, :11])
    with torch.no_grad():
        _, rest = model.scan(state, x[:, 11:])
    torch.testing.assert_close(rest, model(x)[:, 11:], rtol=0, atol=1e-12)


def test_the_key_bias_has_no_gradient_and_all_else_has():
    """A constant added to every score cancels in a softmax."""
    model, (x, mask, dt) = made(learn_decay=True), inputs()
    weights = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    (model(x, mask, dt) * weights)[mask].sum().backward()
    for name, p in model.named_parameters():
        size = p.grad.abs().max()
        assert size < 1e-12 if name.endswith("key_projection.bias") else size > 1e-4, name


def test_the_state_is_a_carry_of_each_layer():
    """H (2 + d_h) numbers of float32 for each layer: 72 for d = 64, H = 4."""
    model = Aaren(d_model=64, heads=4, d_ff=64, layers=3)
    state = model.start(2)
    assert sum(leaf[0].numel() for leaf in leaves(state)) == 3 * 72
    assert bytes_per_series(state) == 3 * 72 * 4
    after, _ = model.scan(model.start(2, dtype=torch.bfloat16), torch.randn(2, 5, 64))
    assert {leaf.dtype for leaf in leaves(after)} == {torch.float32}


@pytest.mark.parametrize("settings", [{}, {"window": 3}], ids=["prefix", "window"])
def test_a_masked_step_does_not_age_the_state(settings):
    model, (x, _, _) = made(learn_decay=True, **settings), inputs(12)
    holes = torch.tensor([[True, True, False, True, False, False, True, True, True, False, True, True]]).expand(3, -1)
    kept = holes[0]
    x[:, ~kept] = torch.nan
    y = model(x, holes)[:, kept]
    torch.testing.assert_close(y, model(x[:, kept]), rtol=0, atol=1e-13)
    dt = torch.ones(3, 12, dtype=x.dtype).masked_fill(~holes, torch.nan)
    torch.testing.assert_close(model(x, holes, dt)[:, kept], y, rtol=0, atol=0)
    model(x, holes, dt)[:, kept].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def shares(t: int, newest: int, **settings) -> float:
    """How much of the weight of step t the newest steps have, scores random: values are 1 there and 0 before."""
    s = torch.randn(1, 1, t, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = torch.zeros(1, 1, t, 1, dtype=torch.float64)
    v[:, :, t - newest :] = 1
    return prefix_attention(s, v, **settings)[0][0, 0, -1, 0].item()


def test_the_prefix_average_freezes_and_decay_keeps_it_awake():
    """At step 10⁴, of the newest 24 steps: nothing left of them without decay, a third and more with .02."""
    assert shares(10_000, 24) < 0.01
    assert shares(10_000, 24, decay=torch.tensor(0.02)) > 0.3


def test_decay_follows_its_settings():
    (layer,) = made(heads=4, layers=1, decay=0.08, spread=2.0).layers
    falls = layer.decay(torch.tensor([[1.0, 0.0, 3.0]], dtype=torch.float64))[0]
    torch.testing.assert_close(
        falls[:, 0] / 0.08, 2 ** torch.linspace(-1, 1, 4, dtype=torch.float64), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(falls[:, 2], 3 * falls[:, 0])
    for rate in (1e-5, 0.02, 5.0):
        (layer,) = made(layers=1, decay=rate, learn_decay=True).layers
        assert layer.decay(torch.ones(1, 1, dtype=torch.float64)).flatten().tolist() == pytest.approx([rate] * 2, 1e-4)


# The window.


def banded(s, v, window, decay=None):
    """Softmax over the band, (B, H, L, L) weights and all."""
    length = s.shape[-1]
    clock = torch.zeros_like(s) if decay is None else decay.expand(s.shape).cumsum(-1)
    scores = s[..., None, :] - (clock[..., :, None] - clock[..., None, :])
    age = torch.arange(length)[:, None] - torch.arange(length)
    return torch.softmax(scores.masked_fill((age < 0) | (age >= window), -torch.inf), -1) @ v


def tokens(length, dtype=torch.float64, scale=1.0, d=3):
    g = torch.Generator().manual_seed(0)
    s = scale * torch.randn(2, 3, length, generator=g, dtype=torch.float64)
    v = torch.randn(2, 3, length, d, generator=g, dtype=torch.float64)
    return s.to(dtype), v.to(dtype), torch.rand(2, 3, length, generator=g, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("window", [2, 3, 7, 16, 50])
@pytest.mark.parametrize("length", [1, 2, 16, 17, 33])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_a_window_is_banded_attention(window, length, dtype, tolerance):
    for scale in (1.0, 30.0):
        s, v, decay = tokens(length, dtype, scale)
        ring = empty_ring(2, 3, 3, window, dtype=dtype)
        for falls in (None, decay):
            o, _ = window_attention(s, v, ring, decay=falls)
            want = banded(s.double(), v.double(), window, None if falls is None else falls.double())
            assert o.dtype == dtype
            assert (o - want).abs().max() < tolerance


def test_a_window_has_the_bands_gradients():
    s, v, decay = (t.requires_grad_() for t in tokens(17))  # by blocks; the short ones below by softmax
    g = torch.randn(2, 3, 17, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ring = empty_ring(2, 3, 3, 5, dtype=torch.float64)
    ours = torch.autograd.grad((window_attention(s, v, ring, decay=decay)[0] * g).sum(), (s, v, decay))
    want = torch.autograd.grad((banded(s, v, 5, decay) * g).sum(), (s, v, decay))
    for one, other in zip(ours, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradients_go_through_the_ring():
    s, v, decay = (t.requires_grad_() for t in tokens(17))
    ring, parts = empty_ring(2, 3, 3, 5, dtype=torch.float64), []
    for now in (slice(0, 6), slice(6, 7), slice(7, 8), slice(8, 17)):
        o, ring = window_attention(s[..., now], v[:, :, now], ring, decay=decay[..., now])
        parts.append(o)
    ours = torch.autograd.grad(torch.cat(parts, 2).square().sum(), (s, v, decay))
    want = torch.autograd.grad(banded(s, v, 5, decay).square().sum(), (s, v, decay))
    for one, other in zip(ours, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 60])
def test_a_ring_holds_a_window_and_keeps_nothing_else_alive(length):
    """H (W − 1) (2 + d_h) numbers: a view of a long scan would hold on to all of it."""
    model, (x, _, _) = made(layers=1, window=6), inputs(60)
    state, _ = model.scan(model.start(3, dtype=x.dtype), x[:, :length])
    assert bytes_per_series(state) == HEADS * 5 * (2 + D // HEADS) * 8
    held = sum(leaf.untyped_storage().nbytes() for leaf in leaves(state))
    assert held <= 3 * HEADS * 6 * (2 + D // HEADS) * 8


def test_masks_leave_gaps_out_of_the_window():
    s, v, decay = tokens(40)
    mask = torch.rand(2, 40, generator=torch.Generator().manual_seed(5)) > 0.5
    o, ring = window_attention(s, v, empty_ring(2, 3, 3, 4, dtype=s.dtype), decay=decay, mask=mask)
    for b in range(2):
        seen = mask[b]
        want = banded(s[b : b + 1, :, seen], v[b : b + 1, :, seen], 4, decay[b : b + 1, :, seen])
        torch.testing.assert_close(o[b : b + 1, :, seen], want, rtol=0, atol=1e-12)
        assert ring.v[b].equal(v[b][:, seen][:, -3:])


def test_a_window_forgets_for_good():
    """What left the window is gone bit for bit, however large its score was."""
    model, (x, _, _) = made(layers=1, window=6), inputs(30)
    other = x.clone()
    other[:, :10] = 1e3
    state, y = model.scan(model.start(3, dtype=x.dtype), x)
    again, z = model.scan(model.start(3, dtype=x.dtype), other)
    assert y[:, 16:].equal(z[:, 16:])
    assert all(a.equal(b) for a, b in zip(leaves(state), leaves(again), strict=True))


def test_a_huge_gap_leaves_the_newest_step_alone():
    s, v, decay = tokens(12, torch.float32)
    decay[..., 7] = 1e9
    for ring_of in (3, 20):
        o, _ = window_attention(s, v, empty_ring(2, 3, 3, ring_of), decay=decay)
        assert o.isfinite().all()
        torch.testing.assert_close(o[:, :, 7], v[:, :, 7])
        want = banded(s[..., 7:].double(), v[:, :, 7:].double(), ring_of, decay[..., 7:].double())
        torch.testing.assert_close(o[:, :, 7:].double(), want, rtol=1e-5, atol=1e-5)


def test_training_twice_gives_equal_gradients():
    found = []
    for _ in range(2):
        model, (x, mask, dt) = made(window=5, learn_decay=True), inputs()
        model(x, mask, dt)[mask].square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"layers": 0}, "layers 0"),
        ({"window": 1}, "at least 2 steps"),
        ({"decay": 0.0}, "decay is 0.0"),
        ({"decay": -1.0}, "decay is -1.0"),
        ({"spread": 0.5}, "spread is 0.5"),
        ({"decay": None, "learn_decay": True}, "without a decay"),
    ],
)
def test_sizes_that_cannot_be(settings, says):
    with pytest.raises(ValueError, match=says):
        made(**settings)
