"""The laws of self-correction: what persists is corrected, what does not is left alone, and intervals hold what they
claim, whatever comes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecast.inference.correct import Corrector, knots

H = 24
ENDS = (1.645, 1.645)


def stream(truth, point, *, width=1.0, season=24, first=10_000, corrector=None):
    """truth (N, B, T), point (N, B, H, T): forecast i is for truths i, i + 1, … -> the corrector, its rows, what was
    issued (points and ends, (N, B, H, T)), and the alarms (N, B, T) that truths raised."""
    n, b, h, t = point.shape
    corrector = corrector or Corrector(h, t, season=season)
    rows, issued, alarms = corrector.start(b), [], np.zeros(truth.shape, bool)
    for i in range(n):
        step = np.full(b, first + i - 1)
        if i:
            alarms[i - 1] = corrector.anomaly(rows, step, truth[i - 1])[1]
            rows = corrector.see(rows, step, truth[i - 1])
        middle, (below, above) = point[i] + corrector.shift(rows), corrector.stretch(rows)
        low, high = middle - below * ENDS[0] * width, middle + above * ENDS[1] * width
        rows = corrector.issue(rows, step, point[i], low, high)
        issued.append((middle, low, high))
    return corrector, rows, *(np.stack(part) for part in zip(*issued, strict=True)), alarms


def ahead(values, horizon=H):
    """(N + H, …) -> (N, …, H, T) the truths of each forecast."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(values, horizon, axis=0), -1, 2)[:-1]


def noise(n, b=8, t=1, *, seed=0):
    return np.random.default_rng(seed).standard_normal((n + H, b, t))


def flat(truth):
    """A forecast of 0, always."""
    return np.zeros((len(truth) - H, *truth.shape[1:2], H, truth.shape[2]))


def test_the_state_of_a_series_is_small_and_does_not_grow_with_targets_beyond_their_number():
    assert Corrector(24, 1, season=24).width <= 150
    assert Corrector(24, 1, season=24).start(3).shape == (3, Corrector(24, 1, season=24).width)
    assert Corrector(24, 7).width <= 7 * Corrector(24, 1).width
    assert Corrector(24, 1).start(2).dtype == np.float32


@pytest.mark.parametrize("horizon", [1, 2, 3, 24, 168])
def test_knots_hold_the_first_and_the_last_lead(horizon):
    assert knots(horizon)[0] == 1 and knots(horizon)[-1] == horizon
    corrector = Corrector(horizon, 2, season=3)
    rows = corrector.start(4)
    for step in range(3):
        at = np.full(4, step)
        rows = corrector.see(rows, at, np.ones((4, 2)))
        assert corrector.shift(rows).shape == corrector.stretch(rows)[0].shape == (4, horizon, 2)
        rows = corrector.issue(rows, at, np.zeros((4, horizon, 2)), None, None)


def test_a_row_depends_on_no_other():
    truth = noise(60, 5, 2).round(1)
    truth[20:30, 1] = np.nan
    truth[40:, 2] += 50
    corrector = Corrector(H, 2, season=24)
    together, apart = corrector.start(5), [corrector.start(1) for _ in range(5)]
    starts, order = np.array([0, 7, 1 << 40, 3, 11]), np.array([3, 0, 4, 1, 2])
    for i in range(60):
        draw, step = noise(H, 5, 2, seed=i)[:H].transpose(1, 0, 2), starts + i
        together = corrector.see(together[order], step[order], truth[i][order])
        together = corrector.issue(together, step[order], draw[order], draw[order] - 1, draw[order] + 1)
        together = together[np.argsort(order)]
        for row in range(5):
            one = slice(row, row + 1)
            apart[row] = corrector.see(apart[row], step[one], truth[i][one])
            apart[row] = corrector.issue(apart[row], step[one], draw[one], draw[one] - 1, draw[one] + 1)
    assert together.tobytes() == np.concatenate(apart).tobytes()
    assert corrector.shift(together).tobytes() == np.concatenate([corrector.shift(row) for row in apart]).tobytes()
    for side in (0, 1):
        each = np.concatenate([corrector.stretch(row)[side] for row in apart])
        assert corrector.stretch(together)[side].tobytes() == each.tobytes()


LEARNED = (
    "count", "bias", "size", "late", "applied", "carried", "seasonal", "profile", "stretch", "claimed", "threshold",
)  # fmt: skip


def test_what_was_not_observed_teaches_nothing():
    truth = noise(80) + 1
    corrector, rows, *_ = stream(truth, flat(truth))
    before = rows.copy()
    for i in range(40):
        rows = corrector.see(rows, np.full(8, 10_079 + i), np.full((8, 1), np.nan))
        for name in LEARNED:
            np.testing.assert_array_equal(corrector.layout.of(rows, name), corrector.layout.of(before, name))
    assert np.isnan(corrector.layout.of(rows, "ring2")).all()


def test_the_first_leads_alone_are_those_of_all():
    truth = noise(60) + 3
    corrector, rows, *_ = stream(truth, flat(truth))
    np.testing.assert_array_equal(corrector.shift(rows, 3), corrector.shift(rows)[:, :3])


def test_see_and_issue_leave_their_rows_alone():
    truth = noise(30)
    corrector, rows, *_ = stream(truth, flat(truth))
    before = rows.tobytes()
    corrector.issue(corrector.see(rows, np.full(8, 10_029), truth[29]), np.full(8, 10_029), flat(truth)[0], None, None)
    assert rows.tobytes() == before


@pytest.mark.parametrize("jump", [2, 24, 25, 1000])
def test_after_a_gap_no_old_forecast_is_taken_for_a_new_one(jump):
    truth = noise(50)
    corrector, rows, *_ = stream(truth, flat(truth))
    last = 10_048
    rows = corrector.see(rows, np.full(8, last + jump), np.full((8, 1), 1e6))
    missed = [knot for knot in corrector.knots if jump > knot]
    size = corrector.layout.of(rows, "size")
    for i, knot in enumerate(corrector.knots):
        if knot in missed:
            assert (size[:, i] < 10).all()
    assert np.isnan(corrector.anomaly(corrector.start(1), np.zeros(1, np.int64), np.ones((1, 1)))[0]).all()


def test_a_step_back_empties_what_waits():
    truth = noise(50)
    corrector, rows, *_ = stream(truth, flat(truth))
    rows = corrector.see(rows, np.full(8, 5), np.full((8, 1), 1e6))
    assert all(np.isnan(corrector.layout.of(rows, f"ring{i}")).all() for i in range(3))
    assert (corrector.layout.of(rows, "size") < 10).all()


def test_learning_knows_nothing_before_its_step():
    truth, later = noise(100), noise(100)
    later[60:] += 5
    first, second = (stream(each, flat(truth))[2:5] for each in (truth, later))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[:61], b[:61])
        assert (a[61:] != b[61:]).any()


def test_a_constant_error_is_corrected():
    truth = noise(600) * 0.01 + np.array([3.0, -2, 0.1, 50, 1, 1, 1e-3, 0])[:, None]
    _, _, made, *_ = stream(truth, flat(truth))
    left = np.abs((made - ahead(truth))[-100:].mean((0, 2, 3)))
    assert (left < 0.005 * np.maximum(1, truth.mean((0, 2)))).all()


def test_a_daily_error_is_corrected():
    wave = np.sin(np.arange(1500 + H) * 2 * np.pi / 24)[:, None, None]
    truth = 0.3 * noise(1500) + wave
    _, _, made, *_ = stream(truth, flat(truth))
    error, frozen = (made - ahead(truth))[-300:], ahead(truth)[-300:]
    assert (error**2).mean() < 0.35 * (frozen**2).mean()


def test_an_error_that_goes_on_for_a_while_is_corrected_at_the_first_leads():
    truth = noise(1500, 16)
    for i in range(1, len(truth)):
        truth[i] += 0.7 * truth[i - 1]
    _, _, made, *_ = stream(truth, flat(truth))
    error, frozen = (made - ahead(truth))[500:], ahead(truth)[500:]
    ratio = (error**2).mean((0, 1, 3)) / (frozen**2).mean((0, 1, 3))
    assert ratio[0] < 0.6 and ratio[1] < 0.9 and ratio[2:].max() < 1.01


def test_white_noise_is_left_alone():
    truth = noise(1500, 32)
    _, _, made, *_ = stream(truth, flat(truth))
    ratio = ((made - ahead(truth)) ** 2).mean((0, 1, 3)) / (ahead(truth) ** 2).mean((0, 1, 3))
    assert ratio.max() <= 1.01


def test_a_new_level_is_taken_up_within_a_few_steps():
    truth = 0.1 * noise(600)
    truth[400:] += 5
    _, _, made, *_ = stream(truth, flat(truth))
    left = np.abs(made - ahead(truth)).mean((1, 3))
    assert left[403, 0] < 1 and left[410, 0] < 0.5 and left[410, -1] < 2.5
    assert left[430:].max() < 0.4


def covered(truth, low, high, some):
    y = ahead(truth)
    return ((y >= low) & (y <= high))[some].mean((0, 1, 3))


@pytest.mark.parametrize("freedom", [2, 3, 30])
def test_ninety_percent_are_inside_under_heavy_tails(freedom):
    truth = np.random.default_rng(1).standard_t(freedom, (1500 + H, 16, 1))
    *_, low, high, _ = stream(truth, flat(truth))
    assert covered(truth, low, high, slice(500, None)) == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize("factor", [0.1, 5.0, 50.0])
def test_ninety_percent_are_inside_after_a_change_of_scale(factor):
    truth = noise(1500, 24)
    truth[500:] *= factor
    *_, low, high, _ = stream(truth, flat(truth))
    assert covered(truth, low, high, slice(800, None)) == pytest.approx(0.9, abs=0.025)


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_a_calibration_that_is_wrong_from_the_start_is_found_out(factor):
    truth = noise(1200)
    *_, low, high, _ = stream(truth, flat(truth), width=factor)
    assert covered(truth, low, high, slice(700, None)) == pytest.approx(0.9, abs=0.02)


def test_without_intervals_only_points_are_corrected():
    truth = noise(300) + 2
    corrector, rows = Corrector(H, 1), Corrector(H, 1).start(8)
    for i in range(300):
        step = np.full(8, i)
        assert np.isnan(corrector.anomaly(rows, step, truth[i])[0]).all()
        rows = corrector.issue(corrector.see(rows, step, truth[i]), step, flat(truth)[0], None, None)
    assert corrector.shift(rows) == pytest.approx(2, abs=0.7)
    for side in range(2):
        np.testing.assert_array_equal(corrector.layout.of(rows, "stretch")[:, :, side], 1)


@pytest.mark.parametrize(("freedom", "share"), [(None, 1e-3), (3, 2.5e-3)], ids=["noise", "heavy tails"])
def test_alarms_stay_within_their_budget_and_a_spike_is_one(freedom, share):
    draw = np.random.default_rng(2)
    truth = draw.standard_normal((2000 + H, 32, 1)) if freedom is None else draw.standard_t(3, (2000 + H, 32, 1))
    truth[1998] = 30.0 if freedom is None else 300.0
    *_, alarms = stream(truth, flat(truth))
    assert alarms[:1998].mean() <= share and alarms[1998].all()


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_alarms_are_held_to_their_budget_whatever_comes(far, seed):
    """By the threshold's own rule: each alarm raises it by 1 / budget of what a quiet step takes away."""
    ends = Corrector(2, 1, budget=0.02).ends
    rows, draw, alarms = Corrector(2, 1, budget=0.02).start(1), np.random.default_rng(seed), 0
    for _ in range(200):
        score = np.abs(draw.standard_cauchy((1, 1))) * far
        alarms += int(score[0, 0] > ends.layout.of(rows, "threshold")[0, 0])
        ends.alarms(rows, score)
    reached = np.log(ends.layout.of(rows, "threshold")[0, 0] / ends.nominal) / ends.rates.alarm
    assert alarms <= 200 * 0.02 + reached + 1


def test_the_probability_of_an_anomaly_is_that_of_its_tails():
    truth = noise(500, 64)
    corrector, rows, *_ = stream(truth, flat(truth))
    p = np.concatenate([corrector.anomaly(rows, np.full(64, 10_499), np.full((64, 1), y))[0] for y in (0.0, 1.645, 9)])
    a, b, c = p.reshape(3, 64)
    assert a.mean() > 0.8 and b.mean() == pytest.approx(0.1, abs=0.05) and (c < 1e-4).all()
    assert np.isnan(corrector.anomaly(rows, np.full(64, 10_499), np.full((64, 1), np.nan))[0]).all()


numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e15, -1e15, 3e38, -3e38, np.inf, -np.inf, np.nan]), st.floats(-1e6, 1e6)
)


@settings(max_examples=30)
@given(arrays(np.float64, (20, 2, 1), elements=numbers), arrays(np.float64, (20, 2, 3), elements=numbers))
def test_all_numbers_stay_finite(truth, made):
    corrector = Corrector(8, 1, season=4)
    rows = corrector.start(2)
    for i in range(20):
        step, (point, low, high) = np.full(2, i), (np.repeat(made[i, :, j], 8).reshape(2, 8, 1) for j in range(3))
        p, _ = corrector.anomaly(rows, step, truth[i])
        assert not np.isinf(p).any() and not (p < 0).any()
        rows = corrector.issue(corrector.see(rows, step, truth[i]), step, point, low, high)
        assert np.isfinite(corrector.shift(rows)).all()
        assert all(np.isfinite(side).all() and (side > 0).all() for side in corrector.stretch(rows))
        assert not np.isinf(rows).any()
        for name in LEARNED:
            assert np.isfinite(corrector.layout.of(rows, name)).all(), name


def test_a_series_that_never_moves_is_no_trouble():
    truth = np.zeros((200 + H, 3, 1))
    corrector, rows, made, low, high, alarms = stream(truth, flat(truth), width=0.0)
    assert (made == 0).all() and (low == 0).all() and (high == 0).all() and not alarms.any()
    p, alarm = corrector.anomaly(rows, np.full(3, 10_199), np.ones((3, 1)))
    assert (p == 0).all() and alarm.all()
