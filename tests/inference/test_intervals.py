"""Calibration holds what it claims, joint paths too; adapting learns from nothing before it is known."""

import pytest
import torch

from forecast import build
from forecast.artifacts import Run
from forecast.data.card import load_card
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler
from forecast.errors import ArtifactError, UsageError
from forecast.inference.adaptive import Adaptive
from forecast.inference.bounds import Bounds
from forecast.inference.calibration import LEVELS, Calibration, fit, normal_scores, ranks, scores_at
from forecast.inference.predictor import Ahead, Predictor
from forecast.metrics import Intervals, Joint
from tests.problems import spec
from tests.test_build import config

H, T = 6, 2
LOW, HIGH = LEVELS.index(0.05), LEVELS.index(0.95)


def drawn(n, *, seed=0, together=0.9):
    """(n, H, T) scores whose steps belong together, of a size that grows with the step."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(n, 1, T, generator=g)
    own = torch.randn(n, H, T, generator=g)
    return (together**0.5 * common + (1 - together) ** 0.5 * own) * torch.arange(1.0, H + 1)[:, None]


def places(n, season=3):
    return (torch.arange(n)[:, None] + torch.arange(H)) % season


def covered(table, scores):
    return ((table[..., LOW] <= scores) & (scores <= table[..., HIGH])).float().mean().item()


def test_exchangeable_values_are_covered_at_every_step():
    made = fit(drawn(3000), places(3000), 3)
    assert made.table.shape == (H, T, len(LEVELS))
    assert (made.table.diff(dim=-1) >= 0).all()
    assert made.scale.shape == (3, T)
    fresh = drawn(3000, seed=1) / made.size(places(3000))
    for step in range(H):
        assert covered(made.table[step], fresh[:, step]) == pytest.approx(0.9, abs=0.02)


def test_a_place_of_the_season_that_is_hard_has_wider_intervals():
    scores, place = drawn(2000), places(2000)
    scores = torch.where((place == 1)[..., None], 5 * scores, scores)
    made = fit(scores, place, 3)
    assert (made.scale[1] > 2 * made.scale[0]).all()
    q = made.scores(torch.tensor([0.05, 0.95]), place)
    inside = (q[..., 0] <= scores) & (scores <= q[..., 1])
    assert inside[(place == 1)].float().mean().item() == pytest.approx(0.9, abs=0.03)
    assert inside[(place != 1)].float().mean().item() == pytest.approx(0.9, abs=0.03)


def test_gaps_are_left_out_of_a_calibration():
    scores = drawn(400)
    hole = torch.rand(400, H, T, generator=torch.Generator().manual_seed(2)) < 0.3
    holed = fit(scores.masked_fill(hole, torch.nan), places(400), 1 * 3)
    assert all(part.isfinite().all() for part in holed)
    one = scores[:, :1, :1]
    assert torch.allclose(fit(torch.cat([one, one * torch.nan]), places(800)[:, :1], 3).table[0, 0].sort().values,
                          fit(one, places(400)[:, :1], 3).table[0, 0], atol=0.5)  # fmt: skip
    nothing = scores.clone()
    nothing[:, 2, 1] = torch.nan
    assert fit(nothing, places(400), 3).table[2, 1].abs().max() == 0


def test_normal_scores_are_the_inverse_of_scores():
    made = fit(drawn(500), places(500), 3)
    normal = torch.linspace(-2.4, 2.4, 9)
    back = normal_scores(made.table, scores_at(made.table, normal).permute(2, 0, 1))
    torch.testing.assert_close(back, normal[:, None, None].expand_as(back), rtol=1e-3, atol=1e-3)


def test_a_calibration_comes_back_and_another_is_refused():
    made = fit(drawn(300), places(300), 3)
    back = Calibration.of(made.tensors(), H, T)
    assert torch.equal(back.table, made.table)
    for broken in ({"pool": made.pool}, {**made.tensors(), "table": made.table * torch.nan}, made.tensors()):
        with pytest.raises(ArtifactError):
            Calibration.of(broken, H + 1 if broken.keys() == made.tensors().keys() else H, T)


def test_sums_are_covered_by_paths_and_not_by_marginals():
    for together, wide in ((0.9, False), (0.0, True)):
        made = fit(drawn(3000, together=together), places(3000), 3)
        fresh = drawn(500, seed=5, together=together) / made.size(places(500))
        paths = scores_at(made.table, ranks(made.pool, 400, torch.Generator().manual_seed(0)))
        ends = made.table[..., [[LEVELS.index(round((1 - c) / 2, 3)) for c in (0.5, 0.8, 0.9, 0.95)],
                                [LEVELS.index(round((1 + c) / 2, 3)) for c in (0.5, 0.8, 0.9, 0.95)]]]  # fmt: skip
        joint = Joint()
        joint.update(paths.expand(500, -1, -1, -1), ends.expand(500, -1, -1, -1, -1), fresh,
                     torch.ones_like(fresh, dtype=torch.bool))  # fmt: skip
        found = joint.result()
        assert found["sum"]["paths"]["90"] == pytest.approx(0.9, abs=0.04)
        assert found["peak"]["paths"]["90"] == pytest.approx(0.9, abs=0.05)
        assert (found["sum"]["marginals"]["90"] > 0.97) == wide
        assert found["energy"] > 0


def run(adaptive, scores, until=None):
    tables = []
    for t in range(len(scores) if until is None else until):
        adaptive.advance(t)
        tables.append(adaptive.table.clone())
        adaptive.push(torch.tensor([0]), scores[t : t + 1])
    return torch.stack(tables)


def test_adapting_covers_what_a_calibration_does_not():
    made = fit(drawn(1000), places(1000), 3)
    wild = 3 * drawn(3000, seed=7) / made.size(places(3000)) + 1.0
    assert covered(made.table, wild) < 0.7
    tables = run(Adaptive(made, 1), wild)
    late = slice(500, None)
    inside = (tables[late][..., LOW] <= wild[late]) & (wild[late] <= tables[late][..., HIGH])
    assert inside.float().mean().item() == pytest.approx(0.9, abs=0.02)


def test_nothing_is_learned_from_a_value_before_its_step_has_come():
    made = fit(drawn(200), places(200), 3)
    scores, now = drawn(40, seed=3), 30
    other = scores.clone()
    for t in range(40):  # of a forecast made at t, step d is known at t + d + 1
        other[t, max(0, now - t) :] = 99.0
    first, second = Adaptive(made, 1), Adaptive(made, 1)
    assert torch.equal(run(first, scores, now + 1)[-1], run(second, other, now + 1)[-1])
    assert torch.equal(first.scale, second.scale)
    assert torch.equal(first.pool, second.pool)
    changed = scores.clone()
    changed[now - 1, 0] += 9.0  # known by now
    assert not torch.equal(run(Adaptive(made, 1), changed, now + 1)[-1], run(Adaptive(made, 1), scores, now + 1)[-1])


def test_adapting_over_a_hole_in_time_forgets_what_never_came():
    made = fit(drawn(200), places(200), 3)
    adaptive = Adaptive(made, 2)
    run(adaptive, drawn(9, seed=1))
    adaptive.advance(10_000)
    assert adaptive.now == 10_000
    assert adaptive.ring.isnan().all()


def test_the_crps_of_quantiles_is_near_that_of_their_distribution():
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    y = torch.randn(2000, 1, 1, generator=torch.Generator().manual_seed(0))
    sums = Intervals(1, LEVELS, ("",))
    quantiles = torch.special.ndtri(levels).expand(2000, 1, 1, -1)
    one = torch.ones(2000, 1, 1)
    sums.update(quantiles, y, one.bool(), mean=one * 0, std=one)
    found = sums.result()
    normal = torch.distributions.Normal(0.0, 1.0)
    exact = y * (2 * normal.cdf(y) - 1) + 2 * normal.log_prob(y).exp() - torch.pi**-0.5  # Gneiting & Raftery, eq. 21
    assert found["crps"] == pytest.approx(exact.mean().item(), rel=0.02)
    assert found["nominal"]["90"]["coverage"] == pytest.approx(0.9, abs=0.02)
    assert found["nominal"]["90"]["width"] == pytest.approx(2 * 1.6449, rel=1e-3)
    assert Intervals(1, LEVELS, ("",)).result()["values"] == 0


def test_bounds_hold_for_points_and_quantiles():
    bounds = Bounds(torch.tensor([[0.0, -1.0]]), None)
    values = torch.full((1, 3, 2), -5.0)
    assert bounds(values, torch.tensor([0])).tolist() == [[[0.0, -1.0]] * 3]
    assert bounds(values[..., None].expand(-1, -1, -1, 4), torch.tensor([0])).amax() == 0.0


def test_a_file_that_is_no_calibration(tmp_path):
    (tmp_path / "calibration.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Run(tmp_path).load_tensors("calibration.safetensors")


def test_a_run_without_a_calibration_has_no_intervals():
    card, s = load_card("electricity"), spec()
    scaler = Scaler(("a",), torch.zeros(1, 3).double().numpy(), torch.ones(1, 3).double().numpy())
    task = {"loss": "mse", "output": "normal"}
    point, normal = (build.chain(config(task=t), s, masked=False) for t in ({"loss": "mse"}, task))
    recipe = Recipe(card, "error", scaler, s)
    assert Predictor(point, recipe, "x").asked(None) == []
    with pytest.raises(UsageError, match="no intervals"):
        Predictor(point, recipe, "x").asked([0.1])
    assert Predictor(normal, recipe, "x").asked(None) == [0.05, 0.95]
    with pytest.raises(UsageError, match="no joint paths"):
        next(Predictor(normal, recipe, "x").paths(Ahead(None, None, None), 3))
