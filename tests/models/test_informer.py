"""Informer against its published computation, and the defects of its public versions, none of which is ours."""

import hydra
import pytest
import torch
from torch import nn

from forecast import build, config
from forecast.heads import Chain, Generative
from forecast.interop.informer2020 import convert
from forecast.models import Informer, NoNorm, ValueEmbedding
from forecast.models.attention import Attention, set_step
from forecast.ops.selection import budget, sample_keys
from forecast.types import Spec
from forecast.where import CONF
from tests.models import reference
from tests.problems import PLAIN, batch, rows, spec


def chain(s: Spec, *, layers: tuple[int, ...] = (2,), attention: str = "prob", factor: int = 1,
          masked: bool = False, d: int = 16, heads: int = 2, decoder: int = 2, dropout: float = 0.0, seed: int = 0,
          **head) -> Chain:  # fmt: skip
    encoder = Informer(
        d_model=d, heads=heads, d_ff=32, layers=layers, factor=factor, dropout=dropout, attention=attention, seed=seed
    )
    decoder_head = Generative(
        spec=s, d_memory=d, length=encoder.out_len(s.context), d_model=d, heads=heads, d_ff=32, layers=decoder,
        factor=factor, dropout=dropout, attention=attention, label=12, seed=seed, **{"mix": True, **head},
    )  # fmt: skip
    embed = ValueEmbedding(spec=s, d_model=d, dropout=dropout)
    return Chain(norm=NoNorm(), embed=embed, encoder=encoder, head=decoder_head, masked=masked).double().eval()


@pytest.mark.parametrize("attention", ["prob", "full"])
@pytest.mark.parametrize(("layers", "stack"), [((2,), False), ((3, 2, 1), True)])
def test_reference_weights_give_equal_outputs(attention, layers, stack):
    s = spec()._replace(clock=PLAIN)
    state = reference.random_state(c=3, f=4, d=16, ff=32, depths=list(layers), decoder=2, out=3, stack=stack)
    ours = chain(s, layers=layers, attention=attention)
    ours.load_state_dict(convert(state))
    x = batch(s)
    # their calendar: hour, weekday, day of month, day of year, each count / (size - 1) - 0.5
    columns = [PLAIN.index(f) for f in ("hour", "weekday", "day", "yearday")]
    top = torch.tensor([23.0, 6.0, 30.0, 365.0], dtype=torch.float64)
    past, ahead = (t[..., columns] / top - 0.5 for t in (x.past_clock, x.future_clock))
    start = torch.cat([x.past[:, -12:], torch.zeros(4, 8, 3, dtype=torch.float64)], 1)

    numbers = {}
    for name, part in ours.named_modules():
        if isinstance(part, Attention):
            numbers[name] = part.layer

    def sampler(l_q, l_k, count, name):
        where = name.replace("encoder.encoders.", "encoder.stacks.").replace("attn_layers", "layers")
        if where.startswith("encoder.layers"):
            where = where.replace("encoder.layers", "encoder.stacks.0.layers")
        layer = numbers[where.replace("decoder.layers", "head.layers")]
        return sample_keys(l_q, l_k, count, seed=0, layer=layer)

    theirs = reference.forward(
        state, x.past, past, start, torch.cat([past[:, -12:], ahead], 1), heads=2, depths=list(layers), decoder=2,
        factor=1, horizon=8, attention=attention, sampler=sampler, stack=stack,
    )  # fmt: skip
    torch.testing.assert_close(ours(x), theirs, rtol=1e-9, atol=1e-9)


def test_convert_refuses_learned_calendars():
    with pytest.raises(ValueError, match="timeF"):
        convert({"enc_embedding.temporal_embedding.hour_embed.weight": torch.zeros(24, 4)})


def test_the_reference_size_has_the_published_number_of_parameters():
    s = spec(7, context=96, horizon=24)._replace(clock=PLAIN)
    embed = ValueEmbedding(spec=s, d_model=512)
    encoder = Informer(d_model=512, heads=8, d_ff=2048, layers=[2])
    head = Generative(spec=s, d_memory=512, length=encoder.out_len(96), label=48)
    count = sum(p.numel() for part in (embed, encoder, head) for p in part.parameters())
    assert count == 11_330_055


@pytest.mark.parametrize("length", [1, 2, 3, 5, 24, 31, 96])
@pytest.mark.parametrize("layers", [(1,), (2,), (3, 2, 1)])
def test_distilling_halves_rounding_up(length, layers):
    encoder = Informer(d_model=8, heads=2, d_ff=8, layers=layers).eval()
    x = torch.randn(2, length, 8)
    out = encoder(x)
    assert out.shape == (2, encoder.out_len(length), 8)
    assert out.isfinite().all()
    mask = torch.ones(2, length, dtype=torch.bool)
    assert encoder.out_mask(mask).shape == (2, encoder.out_len(length))
    assert encoder.out_mask(mask).all()


def test_full_equals_prob_when_every_query_is_kept():
    """Most forks scramble heads and time here; the two must be equal."""
    s = spec()
    sparse, full = chain(s, factor=100), chain(s, attention="full")
    full.load_state_dict(sparse.state_dict())
    x = batch(s)
    torch.testing.assert_close(sparse(x), full(x), rtol=1e-10, atol=1e-10)


def test_forecasts_at_evaluation_repeat_and_do_not_depend_on_batch_neighbours():
    s = spec()
    model, x = chain(s), batch(s, 6)
    whole = model(x)
    assert whole.equal(model(x))
    alone = torch.cat([model(rows(x, torch.tensor([i]))) for i in range(6)])
    torch.testing.assert_close(whole, alone, rtol=1e-12, atol=1e-12)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    torch.testing.assert_close(model(rows(x, order)), whole[order], rtol=1e-12, atol=1e-12)


def test_training_samples_follow_the_step_not_history():
    s = spec()
    model, x = chain(s).train(), batch(s)

    def at(step):
        set_step(model, step)
        torch.manual_seed(0)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.reset_running_stats()
        return model(x)

    assert at(3).equal(at(3))
    assert not at(3).equal(at(4))


def test_values_under_the_mask_change_nothing():
    s = spec()
    model, x = chain(s, masked=True), batch(s)
    g = torch.Generator().manual_seed(5)
    mask = torch.rand(x.past.shape, generator=g) > 0.2
    mask[:, 4:7] = False  # whole steps missing
    before = model(x._replace(past_mask=mask, past=x.past.masked_fill(~mask, 0.0)))
    after = model(x._replace(past_mask=mask, past=x.past.masked_fill(~mask, 50.0)))
    assert before.equal(after)
    assert before.isfinite().all()


def test_nothing_observed_is_still_finite():
    s = spec()
    model, x = chain(s, masked=True), batch(s)
    assert model(x._replace(past_mask=torch.zeros_like(x.past_mask))).isfinite().all()


def test_the_decoder_never_sees_the_truth():
    s = spec()
    model, x = chain(s), batch(s)
    assert model(x).equal(model(x._replace(future=x.future + 1e6, future_mask=~x.future_mask)))


@pytest.mark.parametrize("head", [{"placeholder": "last"}, {"placeholder": "season", "residual": "naive"},
                                  {"placeholder": "season", "residual": "linear"}, {"lazy": "mean", "mix": False},
                                  {"calendar": "fixed"}, {"calendar": "learned"}, {"calendar": "none"}])  # fmt: skip
def test_variants_forecast_and_learn(head):
    s = spec()
    model, x = chain(s, **head).train(), batch(s)
    out = model(x)
    assert out.shape == (4, 8, 3)
    out.square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="causal"):
        Informer(causal=True)
    with pytest.raises(ValueError, match="aligned Informer.*model.distil=false"):
        Informer(aligned=True, distil=True)
    with pytest.raises(ValueError, match="causal Informer.*one replica"):
        Informer(causal=True, aligned=True, layers=[2, 1])
    with pytest.raises(ValueError, match="rank='prefix'"):
        Attention(8, 2, kind="prob", causal=True)
    with pytest.raises(ValueError, match="not a multiple of heads"):
        Informer(d_model=10, heads=4)
    with pytest.raises(ValueError, match="one depth"):
        Informer(layers=[])
    with pytest.raises(ValueError, match=r"head.label is 99"):
        Generative(spec=spec(), d_memory=8, length=3, label=99)
    assert Informer(d_model=8, heads=2, d_ff=8, aligned=True).out_len(7) == 7


def causal_layer(layer, x, mask):
    """One layer of the causal form on one row x (L, D), query after query: what stands up to it is all there is."""
    inner, length = layer.attention, len(x)
    heads, e = inner.heads, x.shape[1] // inner.heads
    q, k, v = inner.query_projection(x), inner.key_projection(x), inner.value_projection(x)
    u = budget(length, inner.factor)
    sample = sample_keys(length, length, u, seed=inner.seed, layer=inner.layer, causal=True)
    mixed = torch.zeros_like(x)
    for at in (slice(h * e, h * e + e) for h in range(heads)):
        measures = []
        for i in range(length):
            past = [j for j in range(i + 1) if mask[j]]
            picks = [j for j in sample[i].tolist() if mask[j]]
            scores = k[picks, at] @ q[i, at]
            measures.append(scores.max() - scores.sum() / len(past) if picks else torch.tensor(-torch.inf))
            above = sum(bool(m >= measures[i]) for m in measures[:i])  # equals: the earlier one comes first
            if past and above < u:
                mixed[i, at] = (k[past, at] @ q[i, at] / e**0.5).softmax(0) @ v[past, at]
            elif past:
                mixed[i, at] = v[past, at].mean(0)
    x = layer.norm1(x + inner.out_projection(mixed))
    return layer.norm2(x + layer.feed(x))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 100])
def test_the_causal_form_is_its_definition(factor, masked):
    torch.manual_seed(0)
    encoder = Informer(d_model=8, heads=2, d_ff=8, factor=factor, causal=True, aligned=True, seed=3).double().eval()
    assert encoder.causal
    x = torch.randn(3, 29, 8, dtype=torch.float64)
    mask = torch.rand(3, 29) > 0.3 if masked else torch.ones(3, 29, dtype=torch.bool)
    mask[0, : 4 if masked else 0] = False
    y = encoder(x, mask if masked else None)
    with torch.no_grad():
        for row in range(3):
            want = x[row].masked_fill(~mask[row, :, None], 0)
            for layer in encoder.stacks[0].layers:
                want = causal_layer(layer, want, mask[row].tolist())
            torch.testing.assert_close(y[row], encoder.stacks[0].norm(want), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("attention", "factor"), [("prob", 1), ("prob", 5), ("full", 5)])
@pytest.mark.parametrize("length", [5, 12, 24, 96, 171])
def test_no_later_step_reaches_an_output_of_the_causal_form(length, attention, factor):
    """Bit for bit; in training too, where the sample is another."""
    torch.manual_seed(0)
    encoder = Informer(
        d_model=8, heads=2, d_ff=8, causal=True, aligned=True, attention=attention, factor=factor, dropout=0.0
    )
    assert encoder.out_len(length) == length
    x, mask = torch.randn(3, length, 8), torch.rand(3, length) > 0.3
    for train in (False, True):
        set_step(encoder.train(train), 4)
        for cut in (1, length // 2, length - 1):
            edited, gaps = x.clone(), mask.clone()
            edited[:, cut:] += 100 * torch.randn(3, length - cut, 8)
            gaps[:, cut:] = ~mask[:, cut:]
            assert encoder(x)[:, :cut].equal(encoder(edited)[:, :cut])
            assert encoder(x, mask)[:, :cut].equal(encoder(edited, gaps)[:, :cut])


def test_a_task_that_asks_for_it_composes_the_causal_form():
    config.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for words, causal, length in (
            (["task.causal=true", "task.aligned=true"], True, 24),
            (["task.aligned=true"], False, 24),
            ([], False, 12),
        ):
            made = config.plain(hydra.compose("train", ["model=informer", *words]))
            encoder = build.make(made["model"], "model", seed=1)
            assert (encoder.causal, encoder.out_len(24)) == (causal, length)
