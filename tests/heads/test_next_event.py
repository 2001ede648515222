"""The forecast of the next event against float64 references: torch.distributions, scipy, numerical integration."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_ndtr, logsumexp
from torch import distributions as D

from forecast.heads import marks as marks_module
from forecast.heads.elapsed import after
from forecast.heads.gaps import Gaps
from forecast.heads.next_event import NextEvent

A, B = 1.7, -0.4


def gaps(
    k: int = 64, rows: int = 7, *, grid: float = 0.0, dtype=torch.float64, wide: float = 1.0, seed: int = 0
) -> Gaps:
    g = torch.Generator().manual_seed(seed)
    weight, place, scale = (torch.randn(rows, k, generator=g, dtype=torch.float64) for _ in range(3))
    parts = (weight.log_softmax(-1), 2 * place, (wide * scale).clamp(-5, 3), torch.tensor(A), torch.tensor(B))
    return Gaps(*(part.to(dtype) for part in parts), grid)


def reference(at: Gaps) -> D.Distribution:
    normal = D.MixtureSameFamily(
        D.Categorical(logits=at.log_weight.double()), D.Normal(at.place.double(), at.log_scale.double().exp())
    )
    return D.TransformedDistribution(normal, [D.AffineTransform(B, A), D.ExpTransform()])


def head(marks: int = 5, d: int = 6, **words) -> NextEvent:
    torch.manual_seed(0)
    return NextEvent(**{"d_memory": d, "marks": marks, "log_mean": B, "log_std": A, "components": 4, **words})


def test_density_and_distribution_function_equal_torchs():
    at, tau = gaps(), torch.logspace(-3, 3, 7, dtype=torch.float64)
    of = reference(at)
    torch.testing.assert_close(at.log_prob(tau), of.log_prob(tau), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(at.cdf(tau), of.cdf(tau), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(at.survival(tau), 1 - of.cdf(tau), rtol=1e-6, atol=1e-9)
    hazard = of.log_prob(tau).exp() / (1 - of.cdf(tau))
    torch.testing.assert_close(at.hazard(tau), hazard, rtol=1e-6, atol=1e-12)


def test_it_integrates_to_one_and_to_its_mean():
    at = gaps(5, rows=1, wide=0.2)

    def density(z: float) -> float:  # over log τ, where it is smooth
        return float(at.log_density(torch.tensor([math.exp(z)], dtype=torch.float64)).exp()) * math.exp(z)

    ends = {"points": [-5, 0, 5], "limit": 400}
    assert quad(density, -25, 25, **ends)[0] == pytest.approx(1, abs=1e-6)
    mean = quad(lambda z: density(z) * math.exp(z), -25, 30, **ends)[0]
    assert float(at.mean()) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_quantiles_undo_the_distribution_function(dtype):
    at = gaps(dtype=dtype, wide=0.3)
    for level in (1e-6, 0.01, 0.5, 0.9, 1 - 1e-4):
        tau = at.quantile(level)
        near = 5e-3 if dtype == torch.float32 else 1e-9
        side = at.cdf(tau) if level <= 0.5 else at.survival(tau)
        kept = torch.as_tensor(level, dtype=dtype)
        torch.testing.assert_close(side, (kept if level <= 0.5 else 1 - kept).expand(7), rtol=near, atol=0)
    torch.testing.assert_close(at.median(), at.quantile(torch.full((7,), 0.5)))


SIZES = [*(10.0**i for i in range(-9, 10)), 0.0]


@pytest.mark.parametrize("grid", [0.0, 1e-9, 1.0, 2.0**-13])
def test_float32_is_safe_from_1e_9_to_1e9(grid):
    """Every number and gradient is finite, and near float64's."""
    for seed in range(3):
        small, large = (gaps(grid=grid, dtype=kind, wide=3.0, seed=seed) for kind in (torch.float32, torch.float64))
        small = small._replace(**{key: getattr(small, key).requires_grad_() for key in ("place", "log_scale")})
        large = large._replace(**{key: getattr(small, key).detach().double() for key in Gaps._fields[:5]})
        for size in SIZES:
            tau = torch.full((7,), size)
            for what in ("log_prob", "log_survival", "cdf"):
                got, want = getattr(small, what)(tau), getattr(large, what)(tau.double())
                assert got.isfinite().all(), (what, size)
                torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=2e-3)
                slopes = torch.autograd.grad(got.sum(), (small.place, small.log_scale))
                assert all(slope.isfinite().all() for slope in slopes), (what, size)
            assert not small.hazard(tau).isnan().any()
        for level in (1e-6, 0.5, 1 - 1e-6):
            assert small.quantile(level).isfinite().all()
        assert small.mean().isfinite().all()


def cell(at: Gaps, steps: np.ndarray) -> np.ndarray:
    """log P(cell) of one row, by scipy in float64; (n,) counts of the grid -> (n,)."""
    weight, place, scale = (part[0].double().numpy() for part in (at.log_weight, at.place, at.log_scale.exp()))

    def tails(edge):
        u = ((np.log(edge)[:, None] - B) / A - place) / scale
        return log_ndtr(u), log_ndtr(-u)

    with np.errstate(divide="ignore"):
        (below, above), (under, over) = tails((steps + 0.5) * at.grid), tails((steps - 0.5).clip(0) * at.grid)
        from_below, from_above = below + np.log1p(-np.exp(under - below)), over + np.log1p(-np.exp(above - over))
    return logsumexp(weight + np.where(below < over, from_below, from_above), axis=1)


@pytest.mark.parametrize("wide", [0.3, 2.0])
@pytest.mark.parametrize("grid", [1.0, 0.01, 1e-4])
def test_gaps_on_a_grid_score_the_probability_of_their_cell(grid, wide):
    steps = np.concatenate([np.arange(0, 40), 10 ** np.arange(2, 6)])
    at = gaps(16, rows=1, grid=grid, wide=wide)
    want = cell(at, steps.astype(float))
    tau = torch.tensor(steps * grid)
    got = (at.log_prob(tau) + math.log(grid)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    in_32 = Gaps(*(part.float() for part in at[:5]), grid).log_prob(tau.float()) + math.log(grid)
    np.testing.assert_allclose(in_32.numpy(), want, rtol=1e-3, atol=1e-3)
    low, high = at.pit(tau)
    np.testing.assert_allclose((high - low).clamp(min=1e-300).log().numpy(), want, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("grid", [0.0, 1.0, 0.01])
def test_gradients_are_those_of_differences(grid):
    tau = torch.tensor([0.0, 1.0, 2.0, 1.0, 40.0, 1e3, 1e4]).clamp(min=0.0 if grid else 0.5)
    at = gaps(5, grid=grid)
    inputs = [part.requires_grad_() for part in (at.place, at.log_scale)]

    def score(place, log_scale):
        return at._replace(place=place, log_scale=log_scale).log_prob(tau)

    assert torch.autograd.gradcheck(score, inputs, rtol=1e-3, atol=1e-5)
    loose = at._replace(log_scale=torch.full_like(at.log_scale, 3.0))  # its mean is beyond float32
    place = at.place.detach().float().requires_grad_()
    mean = Gaps(*(part.detach().float() for part in loose[:5]))._replace(place=place).mean()
    assert mean.isfinite().all() and torch.autograd.grad(mean.sum(), place)[0].isfinite().all()


def test_cells_add_up_to_one():
    at = gaps(8, rows=1, grid=0.5, wide=0.2)
    tau = torch.arange(0, 400_000, dtype=torch.float64) * 0.5
    log_mass = torch.cat([at.log_prob(part) for part in tau.split(50_000)]) + math.log(0.5)
    last = float(at.survival(tau[-1:] + 0.25))
    assert float(log_mass.exp().sum()) + last == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("grid", [1.0, 2.0**-13])
def test_no_likelihood_is_won_on_the_grid(grid):
    """The narrowest component right on a gap, where a density has a spike, scores no more than all of its cell."""
    for steps in (1.0, 2.0, 17.0, 1000.0):
        tau = torch.tensor([steps * grid])
        place = (tau.log()[:, None] - B) / A
        at = Gaps(torch.zeros(1, 1), place, torch.full((1, 1), -5.0), torch.tensor(A), torch.tensor(B), grid)
        assert float(at.log_prob(tau)) <= -math.log(grid) + 1e-6
        free = float(at._replace(grid=0.0).log_prob(tau))
        if steps < 10:
            assert free > -math.log(grid) + 0.5, "the density has a spike here"
    zero = Gaps(torch.zeros(1, 1), torch.full((1, 1), -50.0), torch.zeros(1, 1), torch.tensor(A), torch.tensor(B), grid)
    assert float(zero.log_prob(torch.zeros(1))) == pytest.approx(-math.log(grid))


def test_training_on_a_grid_stays_below_its_bound():
    """Gradient steps on four values of the grid; a density ends far above the entropy of the four."""
    tau = torch.tensor([0.0, 1.0, 1.0, 2.0, 5.0] * 8)
    entropy = -sum(p * math.log(p) for p in (0.2, 0.4, 0.2, 0.2))
    made = head(marks=1, grid=1.0, components=8)
    states = torch.zeros(1, 40, 6)
    best = torch.optim.Adam(made.parameters(), 0.05)
    for _ in range(300):
        best.zero_grad()
        loss = -made(states).log_prob(tau[None], torch.zeros(1, 40).long())[0].mean()
        loss.backward()
        best.step()
    assert entropy - 1e-4 <= loss.item() < entropy + 0.1


def test_the_scale_is_clamped_and_its_gradient_kept():
    made = head(marks=1)
    with torch.no_grad():
        made.projection.bias[4:8] = torch.tensor([-9.0, -1.0, 1.0, 9.0])
        made.projection.weight.zero_()
    at = made(torch.zeros(1, 1, 6))
    torch.testing.assert_close(at.gaps.log_scale[0, 0], torch.tensor([-5.0, -1.0, 1.0, 3.0]))
    at.gaps.log_scale.sum().backward()
    torch.testing.assert_close(made.projection.bias.grad[4:8], torch.ones(4))


def test_on_a_grid_the_scale_may_be_smaller():
    made = head(marks=1, grid=1e-4)
    with torch.no_grad():
        made.projection.bias[4:8] = torch.tensor([-9.0, -7.0, 1.0, 9.0])
        made.projection.weight.zero_()
    scale = made(torch.zeros(1, 1, 6)).gaps.log_scale[0, 0]
    torch.testing.assert_close(scale, torch.tensor([-8.0, -7.0, 1.0, 3.0]))


def test_components_start_as_near_to_each_other_as_the_levels_are():
    """A tenth of all gaps are near 1.5, as those of a timer are: their density stands out before any training."""
    g = torch.Generator().manual_seed(0)
    free = (A * torch.randn(9000, generator=g, dtype=torch.float64) + B).exp()
    timed = 1.5 + 0.01 * torch.randn(1000, generator=g, dtype=torch.float64)
    normal = (torch.cat([free, timed]).log() - B) / A
    levels = normal.quantile((torch.arange(128) + 0.5).double() / 128).tolist()
    for grid in (0.0, 1e-4):
        made = head(marks=1, components=32, grid=grid, begin="quantiles", levels=levels)
        at = made.requires_grad_(False)(torch.randn(1, 4, 6))
        for level in (0.05, 0.25, 0.5, 0.75, 0.95):
            want = (A * normal.quantile(level) + B).exp().float().expand(1, 4)
            gaps = at.gaps._replace(log_weight=torch.full_like(at.gaps.log_weight, -math.log(32)))
            assert float(gaps.cdf(want)[0, 0]) == pytest.approx(level, abs=0.03)
        near = gaps.log_prob(torch.tensor([[1.5, 1.3, 1.7, 1.5]]))[0]
        assert near[0] > 0 and near[1] < near[0] - 2 and near[2] < near[0] - 2
        torch.testing.assert_close(at.gaps.place[0, 0], at.gaps.place[0, 1])  # for every state the same


def test_levels_that_are_all_alike():
    made = head(marks=1, begin="quantiles", levels=(0.0,) * 128)
    assert made(torch.zeros(1, 1, 6)).log_prob(torch.ones(1, 1), torch.zeros(1, 1).long())[0].isfinite().all()


def test_before_training_log_gaps_are_about_those_of_train():
    made = head(marks=1, components=64)
    with torch.no_grad():
        made.projection.weight.zero_()
    at = made.requires_grad_(False)(torch.zeros(1, 1, 6)).gaps
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        want = D.LogNormal(B, A).icdf(torch.tensor(level))
        assert float(at.cdf(want)) == pytest.approx(level, abs=0.02)
    assert float(at.mean()) < 1.5 * math.exp(B + A**2 / 2)


def test_marks_score_as_torchs_categorical():
    made, states = head(), torch.randn(2, 3, 6)
    mark = torch.tensor([[0, 4, 5], [2, 2, 1]])
    time, got = made(states).log_prob(torch.ones(2, 3), mark)
    want = D.Categorical(logits=made.marks.logits(states)).log_prob(mark.clamp(max=4))
    torch.testing.assert_close(got, want * (mark < 5))
    assert time.shape == (2, 3)
    p = made(states).mark_probabilities()
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 3))
    assert torch.equal(p.argmax(-1), made(states).mark())


def test_marks_given_the_gap():
    made, states = head(mark_given="gap"), torch.randn(2, 3, 6)
    at, mark = made(states), torch.zeros(2, 3).long()
    short, long = (at.log_prob(torch.full((2, 3), size), mark)[1] for size in (0.0, 1e9))
    assert (short != long).all()
    known = at.mark_probabilities(torch.full((2, 3), 2.0))
    torch.testing.assert_close(known[..., 0].log(), at.log_prob(torch.full((2, 3), 2.0), mark)[1])
    torch.testing.assert_close(at.mark_probabilities().sum(-1), torch.ones(2, 3))
    assert torch.equal(at.mark(), at.mark_probabilities().argmax(-1))
    draws = at.sample(4000, torch.Generator().manual_seed(0))[1]
    shares = torch.nn.functional.one_hot(draws, 5).double().mean(0)
    torch.testing.assert_close(shares, at.mark_probabilities().detach().double(), rtol=0, atol=0.04)


def test_labels_are_independent():
    made, states = head(labels=True), torch.randn(2, 3, 6)
    at, mark = made(states), torch.rand(2, 3, 5) > 0.5
    want = D.Bernoulli(logits=made.marks.logits(states)).log_prob(mark.float()).sum(-1)
    torch.testing.assert_close(at.log_prob(torch.ones(2, 3), mark)[1], want)
    assert at.mark().shape == (2, 3, 5) and at.mark().dtype == torch.bool
    assert at.sample(3)[1].shape == (3, 2, 3, 5)


def test_one_mark_costs_nothing():
    at = head(marks=1)(torch.randn(2, 3, 6))
    assert not at.log_prob(torch.ones(2, 3), torch.zeros(2, 3).long())[1].any()
    assert torch.equal(at.mark_probabilities(), torch.ones(2, 3, 1))
    assert not at.mark().any() and not at.sample(2)[1].any()


@pytest.mark.parametrize("words", [{}, {"labels": True}, {"mark_given": "gap"}], ids=str)
def test_parts_change_nothing(words, monkeypatch):
    """Marks some rows at a time: the same numbers, the same gradients."""
    made, states = head(marks=50, **words), torch.randn(2, 9, 6, requires_grad=True)
    mark = torch.rand(2, 9, 50) > 0.5 if "labels" in words else torch.randint(0, 51, (2, 9))
    found = []
    for at_once in (marks_module.AT_ONCE, 200):
        monkeypatch.setattr(marks_module, "AT_ONCE", at_once)
        at = made(states)
        score = at.log_prob(torch.ones(2, 9), mark)[1]
        slopes = torch.autograd.grad(score.sum(), (states, made.marks.logits.weight))
        found.append((score, *slopes, at.mark_probabilities(torch.ones(2, 9)), at.mark(torch.ones(2, 9)).float()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The most numbers that one tensor had."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.most = max(self.most, out.numel() if isinstance(out, torch.Tensor) else 0)
        return out


def test_ten_thousand_marks_are_never_there_at_once():
    made, states = head(marks=10_000), torch.randn(8, 100, 6, requires_grad=True)
    with Largest() as seen:
        made(states).log_prob(torch.ones(8, 100), torch.zeros(8, 100).long())[1].sum().backward()
    assert seen.most <= marks_module.AT_ONCE < 8 * 100 * 10_000


@pytest.mark.parametrize("grid", [0.0, 0.25])
def test_samples_are_spread_as_the_distribution(grid):
    made = head(grid=grid)
    at = made(torch.randn(1, 2, 6))
    tau, mark = at.sample(20_000, torch.Generator().manual_seed(0))
    assert tau.shape == mark.shape == (20_000, 1, 2)
    again = at.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(tau, again[0]) and torch.equal(mark, again[1])
    if grid:
        assert torch.equal(tau, (tau / grid).round() * grid)
    for level in (0.1, 0.5, 0.9):
        edge = at.gaps.quantile(level)
        edge = ((edge / grid).floor() + 0.5) * grid if grid else edge
        torch.testing.assert_close((tau <= edge).double().mean(0), at.gaps.cdf(edge).double(), rtol=0, atol=0.015)
    shares = torch.nn.functional.one_hot(mark, 5).double().mean(0)
    torch.testing.assert_close(shares, at.mark_probabilities().detach().double(), rtol=0, atol=0.015)


def test_an_event_knows_nothing_of_its_neighbours():
    made, states = head(), torch.randn(2, 5, 6)
    tau, mark = torch.rand(2, 5), torch.zeros(2, 5).long()
    whole = made(states).log_prob(tau, mark)
    part = made(states[:1, 2:3]).log_prob(tau[:1, 2:3], mark[:1, 2:3])
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a[:1, 2:3], b)


def test_half_precision_states():
    with torch.autocast("cpu", torch.bfloat16):
        time, mark = head(grid=1.0)(torch.randn(2, 3, 6)).log_prob(torch.ones(2, 3), torch.zeros(2, 3).long())
    assert time.dtype == mark.dtype == torch.float32 and time.isfinite().all()


@pytest.mark.parametrize(
    "words, told",
    [({"components": 0}, "head.components is 0"), ({"marks": 0}, "0 marks"), ({"log_std": 0.0}, "deviation 0.0"),
     ({"log_mean": math.nan}, "mean nan"), ({"grid": -1.0}, "grid of the gaps is -1.0"),
     ({"mark_given": "time"}, "head.mark_given is 'time'")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(words, told):
    with pytest.raises(ValueError, match=told):
        head(**words)


def test_a_restricted_mean_is_of_gaps_up_to_the_longest():
    at = gaps(5, rows=3, wide=0.3)._replace(most=4.0)
    end = torch.linspace(0, 4, 20_001, dtype=torch.float64)
    survival = torch.stack([at.survival(t.expand(3)) for t in end])
    torch.testing.assert_close(at.mean(), torch.trapezoid(survival, end, dim=0), rtol=1e-6, atol=1e-6)
    assert gaps(5, wide=0.3)._replace(most=1e30).mean().allclose(gaps(5, wide=0.3).mean())
    wide = gaps(8)._replace(log_scale=torch.full((7, 8), 3.0), most=4.0)  # its own mean is e^1000 and more
    assert ((wide.mean() > 0) & (wide.mean() <= 4.0)).all()


@pytest.mark.long
def test_what_is_left_of_a_restricted_gap():
    at = gaps(5, rows=3, wide=0.3)._replace(most=4.0)
    end = torch.linspace(0, 4, 20_001, dtype=torch.float64)
    for elapsed in (0.0, 0.3, 2.0, 50.0):
        left = after(at, elapsed)
        survival = torch.stack([left.log_survival(t.expand(3)).exp() for t in end])
        torch.testing.assert_close(left.mean(), torch.trapezoid(survival, end, dim=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grid", [0.0, 1.7e-8])
@pytest.mark.parametrize("far", [10.0, 1e3, 1e4, 5e4, 1e6])
def test_gradients_of_narrow_components_far_from_a_gap_are_exact(grid: float, far: float) -> None:
    """At least one component is near, and the others have no part in the likelihood; of a survival they all may be."""

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        place = torch.tensor([[0.0, -far * 3.4e-4, far * 3.4e-4]], dtype=dtype, requires_grad=True)
        scale = torch.tensor([[-1.0, -8.0, -8.0]], dtype=dtype, requires_grad=True)
        weight = torch.tensor([[-1.0, -1.0, -1.5]], dtype=dtype).log_softmax(-1)
        one = torch.ones((), dtype=dtype)
        gaps = Gaps(weight, place, scale, one, 0 * one, grid)
        only = gaps._replace(log_weight=weight.new_zeros(1, 1), place=place[:, 1:2], log_scale=scale[:, 1:2])
        gap = torch.ones(1, dtype=dtype)
        (gaps.log_prob(gap) + gaps.log_survival(gap) + only.log_survival(gap)).sum().backward()
        return [found for x in (place, scale) if (found := x.grad) is not None]

    for single, double in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=2e-3, atol=1e-5)
