"""Laws of every normalisation × embedding × encoder × head: a new one is added to a list and gets its tests."""

import copy

import pytest
import torch

from forecast.heads import Chain, Direct, Flat, Generative, Segments, Timewise
from forecast.models import (
    LSTM,
    TCNCA,
    Aaren,
    ChannelEmbedding,
    Identity,
    Informer,
    InstanceNorm,
    Linear,
    NoEmbedding,
    NoNorm,
    PatchEmbedding,
    RollingNorm,
    Transformer,
    ValueEmbedding,
)
from forecast.ops.naive import seasonal_naive
from tests.problems import batch, rows, spec

S = spec(3, targets=2)
ENCODERS = {
    "aaren": lambda d: Aaren(d_model=d, heads=d, d_ff=16),
    "aaren-window": lambda d: Aaren(
        d_model=d, heads=1, d_ff=16, decay=0.1, learn_decay=True, window=7, norm_first=True
    ),
    "informer": lambda d: Informer(d_model=d, heads=2, d_ff=16, dropout=0.1),
    "informer-stack": lambda d: Informer(d_model=d, heads=2, d_ff=16, layers=[2, 1], dropout=0.1),
    "informer-full": lambda d: Informer(d_model=d, heads=2, d_ff=16, attention="full", distil=False, dropout=0.1),
    "informer-causal": lambda d: Informer(
        d_model=d, heads=2, d_ff=16, factor=1, causal=True, aligned=True, dropout=0.1
    ),
    "linear": lambda d: Linear(d_model=d, decompose=5),
    "nlinear": lambda d: Linear(d_model=d, decompose=0),
    "lstm": lambda d: LSTM(d_model=d, layers=2, dropout=0.1),
    "lstm-residual": lambda d: LSTM(d_model=d, layers=2, dropout=0.1, residual=True),
    "none": lambda d: Identity(d_model=d),
    "tcnca": lambda d: TCNCA(d_model=d, d_key=4, d_ff=8, chunk=7, kernel=3, factor=2, dropout=0.1),
    "tcnca-ema": lambda d: TCNCA(d_model=d, d_key=4, d_ff=8, chunk=7, mixer="ema", attention="laplace"),
    "transformer": lambda d: Transformer(d_model=d, heads=1, d_ff=16, layers=2, dropout=0.1),
    "transformer-causal": lambda d: Transformer(d_model=d, heads=1, d_ff=16, causal=True, window=7, sinks=2),
}
HEADS = {
    "generative": lambda d, n, bare: Generative(spec=S, d_memory=d, length=n, d_model=8, heads=2, d_ff=16, label=6),
    "generative-linear": lambda d, n, bare: Generative(
        spec=S, d_memory=d, length=n, d_model=8, heads=2, d_ff=16, label=6, placeholder="season", residual="linear"
    ),
    "direct": lambda d, n, bare: Direct(spec=S, d_memory=d, length=n, tokens=3),
    "timewise": lambda d, n, bare: Timewise(spec=S, d_memory=d, length=n, bare=bare),
    "timewise-individual": lambda d, n, bare: Timewise(
        spec=S, d_memory=d, length=n, bare=bare, individual=True, last=False
    ),
}
SEGMENTS = {"steps": {"cell": "gru"}, "patch": {"attention": True}}
NORMS = {"none": NoNorm, "instance": InstanceNorm, "rolling": lambda: RollingNorm(half_life=8)}
EMBEDS = {
    "patch": lambda: PatchEmbedding(spec=S, d_model=8, patch=6, stride=4),
    "channel": lambda: ChannelEmbedding(spec=S, d_model=8),
}


def build(encoder: str, head: str, norm: str = "none", *, masked: bool = False) -> Chain:
    """`head` is a name of HEADS, of steps, or flat-EMBED, segments-EMBED: on tokens of one of EMBEDS, or of steps."""
    torch.manual_seed(0)
    plain = encoder in ("linear", "nlinear", "none")
    kind = head.partition("-")[2] if head.startswith(("flat-", "segments-")) else "steps"
    embed = EMBEDS[kind]() if kind in EMBEDS else NoEmbedding(spec=S) if plain else ValueEmbedding(spec=S, d_model=8)
    body = ENCODERS[encoder](embed.d_model)
    length = body.out_len(embed.length(S.context))
    if head.startswith("flat-"):
        made = Flat(spec=S, d_memory=embed.d_model, length=length, layout=embed.layout)
    elif head.startswith("segments-"):
        options = SEGMENTS[kind]
        made = Segments(spec=S, d_memory=embed.d_model, layout=embed.layout, segment=3, calendar="timeF", **options)
    else:
        made = HEADS[head](embed.d_model, length, embed.bare)
    return Chain(norm=NORMS[norm](), embed=embed, encoder=body, head=made, masked=masked).double().eval()


def shortens(encoder: str) -> bool:
    return ENCODERS[encoder](8).out_len(11) < 11


COMBINATIONS = [
    *(f"{e}/{h}/{n}" for e in ENCODERS for h in HEADS for n in ("none", "instance")),
    *(f"{e}/{h}/{n}" for e in ENCODERS for h, n in (("flat-steps", "none"), ("flat-patch", "instance"))),
    *(f"{e}/{h}/{n}" for e in ENCODERS for h, n in (("segments-steps", "none"), ("segments-patch", "instance"))),
    *(f"{e}/flat-channel/instance" for e in ENCODERS if not shortens(e)),  # a target's token must come out again
    *(f"{e}/direct/rolling" for e in ENCODERS),
]


@pytest.fixture(params=COMBINATIONS)
def parts(request):
    return request.param.split("/")


def test_shape_determinism_and_rows_that_ignore_their_neighbours(parts):
    model, x = build(*parts), batch(S, 5)
    out = model(x)
    assert out.shape == (5, S.horizon, S.targets)
    assert out.isfinite().all()
    assert out.equal(model(x))
    some = torch.tensor([3, 0])
    torch.testing.assert_close(model(rows(x, some)), out[some], rtol=1e-11, atol=1e-11)


def test_the_future_does_not_leak(parts):
    model, x = build(*parts), batch(S)
    scrambled = x._replace(future=torch.full_like(x.future, 1e9), future_mask=torch.zeros_like(x.future_mask))
    assert model(x).equal(model(scrambled))


def test_what_stands_under_the_mask_changes_nothing(parts):
    model, x = build(*parts, masked=True), batch(S, missing=0.3)
    hidden = x._replace(past=torch.where(x.past_mask, x.past, 77.0))
    assert model(x).equal(model(hidden))
    nothing = x._replace(past_mask=torch.zeros_like(x.past_mask))
    assert model(nothing).isfinite().all()


def test_complete_data_give_the_same_with_and_without_masks(parts):
    plain, masked, x = build(*parts), build(*parts, masked=True), batch(S)
    torch.testing.assert_close(plain(x), masked(x), rtol=1e-10, atol=1e-10)


def test_every_parameter_learns(parts):
    model, x = build(*parts).train(), batch(S, missing=0.1)
    model(x).square().mean().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


def test_saved_weights_give_equal_forecasts(parts):
    model, x = build(*parts), batch(S)
    other = copy.deepcopy(model)
    for p in other.parameters():
        torch.nn.init.zeros_(p)
    other.load_state_dict(model.state_dict())
    assert other(x).equal(model(x))


@pytest.mark.parametrize("head", ["timewise", "generative-linear"])
@pytest.mark.parametrize("encoder", ["linear", "informer"])
def test_instance_norm_follows_shift_and_scale(encoder, head):
    model, x = build(encoder, head, "instance"), batch(S)
    t = S.targets
    moved = x._replace(past=x.past * 3.0 + 5.0)
    torch.testing.assert_close(model(moved), model(x)[..., :t] * 3.0 + 5.0, rtol=1e-9, atol=1e-9)


def test_a_flat_window_stays_finite_under_instance_norm():
    model, x = build("informer", "generative", "instance"), batch(S)
    flat = model(x._replace(past=torch.ones_like(x.past)))
    assert flat.isfinite().all()


def test_dlinear_is_two_linear_maps_of_trend_and_remainder():
    """Zeng et al. 2023: forecast = W_t trend + W_s remainder, the trend a centred moving average with repeated ends."""
    model, x = build("linear", "timewise"), batch(S)
    head = model.head
    head.last = False
    torch.nn.init.normal_(head.weight)
    padded = torch.cat([x.past[:, :1]] * 2 + [x.past] + [x.past[:, -1:]] * 2, 1)
    trend = torch.stack([padded[:, i : i + 5].mean(1) for i in range(S.context)], 1)
    w = head.weight[0]
    want = torch.einsum("blc,lh->bhc", trend, w[: S.context])
    want = want + torch.einsum("blc,lh->bhc", x.past - trend, w[S.context :])
    torch.testing.assert_close(model(x), want[..., : S.targets], rtol=1e-10, atol=1e-10)


def test_the_linear_residual_starts_as_seasonal_naive():
    model, x = build("informer", "generative-linear"), batch(S)
    torch.nn.init.zeros_(model.head.projection.weight)
    torch.nn.init.zeros_(model.head.projection.bias)
    naive = seasonal_naive(x.past, None, S.horizon, S.season)[..., : S.targets]
    torch.testing.assert_close(model(x), naive, rtol=1e-12, atol=1e-12)


def test_a_gap_does_not_bend_the_trend_of_a_decomposition():
    """A mean over what was observed: a level with a hole in it is still that level."""
    encoder = Linear(d_model=1, decompose=7)
    mask = torch.ones(1, 30, dtype=torch.bool)
    mask[:, 10:22] = False
    trend, rest = encoder(torch.full((1, 30, 1), 5.0), mask).split(30, 1)
    seen = torch.tensor([i for i in range(30) if i < 13 or i > 18])  # a window centred there saw something
    torch.testing.assert_close(trend[:, seen], torch.full((1, len(seen), 1), 5.0))
    torch.testing.assert_close(rest, torch.zeros(1, 30, 1))


def test_tokens_that_only_happen_to_be_as_wide_as_the_channels_are_no_values():
    s = spec(8)
    embed = ValueEmbedding(spec=s, d_model=8)
    head = Timewise(spec=s, d_memory=8, length=12, bare=embed.bare)
    assert isinstance(head.mix, torch.nn.Linear)
