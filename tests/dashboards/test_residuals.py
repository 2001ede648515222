"""Sums over slabs say what plain numpy says of the whole table, in float64."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from statsmodels.tsa.stattools import acf

from forecast.dashboards.load import Run
from forecast.dashboards.series import bins, errors, intervals, noise, residuals
from forecast.dashboards.series.correlated import NORMAL_95, autocorrelation, correlation, pick
from forecast.dashboards.series.errors import Subject, subject
from forecast.dashboards.series.residuals import Residuals, measure
from forecast.dashboards.series.scored import ENDS, INTERVALS, Choice, ends, pairs, scan

START = datetime(2023, 3, 20)
STD = {("a", "x"): 2.0, ("a", "w"): 0.5, ("b", "x"): 3.0, ("b", "w"): 4.0}
MEAN = {("a", "x"): 10.0, ("a", "w"): -1.0, ("b", "x"): 0.0, ("b", "w"): 5.0}


def table(windows: int = 60, horizon: int = 5, seed: int = 0, quantiles: bool = True) -> pl.DataFrame:
    """Predictions of two series with two channels each, with gaps; the errors of a are off by one of its spreads."""
    rng = np.random.default_rng(seed)
    parts = []
    for (name, channel), std in STD.items():
        w, h = np.meshgrid(np.arange(windows), np.arange(horizon), indexing="ij")
        n = w.size
        y_hat = rng.normal(MEAN[name, channel], std, n)
        y = y_hat + std * (rng.standard_t(4, n) * 0.3 - (0.2 if name == "a" else 0.0))
        y[rng.random(n) < 0.05] = np.nan
        cutoff = [START + timedelta(hours=int(k)) for k in w.ravel()]
        ds = [START + timedelta(hours=int(k)) for k in (w + h + 1).ravel()]
        columns = {"cutoff": cutoff, "ds": ds, "step": (h + 1).ravel(), "y": y, "y_hat": y_hat,
                   "naive": y_hat + rng.normal(0, std, n)}  # fmt: skip
        if quantiles:
            normal = NormalDist(0, 0.4 * std)
            columns |= {key: y_hat + (0 if level == 0.5 else normal.inv_cdf(level)) for key, level in ENDS.items()}
        frame = pl.DataFrame(columns).with_columns(pl.lit(name).alias("unique_id"), pl.lit(channel).alias("channel"))
        parts.append(frame)
    return pl.concat(parts).fill_nan(None).select("unique_id", "channel", pl.exclude("unique_id", "channel"))


def run_of(frame: pl.DataFrame, folder: Path, zone: str | None = None) -> Run:
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / "predictions.parquet", row_group_size=97)
    spec = {"channels": ["x", "w"], "targets": 2, "units": ["kW", "m/s"], "freq": "h", "season": 24, "horizon": 5}
    scaler = {"ids": ["a", "b"], "std": [[2.0, 0.5], [3.0, 4.0]], "mean": [[10.0, -1.0], [0.0, 5.0]]}
    rows = [{"name": "aaren", "kind": "model"}, {"name": "seasonal naive", "kind": "naive"}]
    return Run(folder, {"model": "aaren", "rows": rows}, {}, [],
               {"spec": spec, "scaler": scaler, "zone": zone}, {}, None, folder / "predictions.parquet")  # fmt: skip


class Plain:
    """The reference: everything at once, row by row where need be."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        key = list(zip(frame["unique_id"], frame["channel"], strict=True))
        self.std = np.array([STD[k] for k in key])
        mean = np.array([MEAN[k] for k in key])
        y, hat, naive = (frame[c].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in ("y", "y_hat", "naive"))
        self.y, self.z, self.zn, self.level = y, (hat - y) / self.std, (naive - y) / self.std, (hat - mean) / self.std

    def of(self, where: np.ndarray) -> dict[str, float]:
        z, zn = self.z[where], self.zn[where]
        mine = {"mse": np.nanmean(z**2), "mae": np.nanmean(abs(z)), "bias": np.nanmean(z), "sd": np.nanstd(z)}
        return mine | {"naive_mse": np.nanmean(zn**2), "naive_mae": np.nanmean(abs(zn)), "n": np.isfinite(z).sum()}


def agree(row: dict[str, object], wanted: dict[str, float]) -> None:
    for key, value in wanted.items():
        assert row[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return table()


@pytest.fixture(scope="module")
def made(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Residuals:
    patch = pytest.MonkeyPatch()
    patch.setattr(residuals, "SLAB", 101)  # a dozen slabs
    found = measure(run_of(frame, tmp_path_factory.mktemp("run"), "Europe/Berlin"))
    patch.undo()
    assert found is not None
    return found


def test_every_group_is_what_numpy_says(frame: pl.DataFrame, made: Residuals) -> None:
    plain = Plain(frame)
    agree({"bias": made.bias, "sd": made.sd, "n": made.n},
          {k: v for k, v in plain.of(plain.y == plain.y).items() if k in ("bias", "sd", "n")})  # fmt: skip
    for row in made.step.iter_rows(named=True):
        agree(row, plain.of((frame["step"] == row["step"]).to_numpy()))
    for row in made.series.iter_rows(named=True):
        agree(row, plain.of((frame["unique_id"] == row["unique_id"]).to_numpy()))
    for row in made.channel.iter_rows(named=True):
        agree(row, plain.of((frame["channel"] == row["channel"]).to_numpy()))
    assert made.series["mse"].is_sorted()
    assert (made.windows, made.interval, made.unit_scale) == (240, timedelta(hours=1), None)


def test_the_calendar_is_that_of_the_zone_across_a_change_of_clocks(frame: pl.DataFrame, made: Residuals) -> None:
    """Clocks went forward on 26 March 2023."""
    plain = Plain(frame)
    local = [ds.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo("Europe/Berlin")) for ds in frame["ds"]]
    hour, day = np.array([at.hour for at in local]), np.array([at.isoweekday() for at in local])
    assert made.hour is not None
    assert made.weekday is not None
    assert made.week is not None
    for row in made.hour.iter_rows(named=True):
        agree(row, plain.of(hour == row["hour"]))
    for row in made.weekday.iter_rows(named=True):
        agree(row, plain.of(day == row["weekday"]))
    for row in made.week.iter_rows(named=True):
        agree(row, plain.of((hour == row["hour"]) & (day == row["weekday"])))
    assert made.week["n"].sum() == made.n


def test_intervals_by_step(frame: pl.DataFrame, made: Residuals) -> None:
    plain, step = Plain(frame), frame["step"].to_numpy()
    for row in made.step.iter_rows(named=True):
        here = (step == row["step"]) & np.isfinite(plain.y)
        for level, (low, high) in INTERVALS.items():
            lo, hi = frame[low].to_numpy()[here], frame[high].to_numpy()[here]
            inside = ((lo <= plain.y[here]) & (plain.y[here] <= hi)).mean()
            agree(row, {f"inside_{level}": inside, f"width_{level}": ((hi - lo) / plain.std[here]).mean()})
    seen = np.isfinite(plain.y)
    wanted = [(plain.y[seen] <= frame[name].to_numpy()[seen]).mean() for name in ENDS]
    np.testing.assert_allclose(made.below, wanted, rtol=1e-12)
    assert made.levels == list(ENDS.values())


def test_levels_are_groups_of_neighbours(frame: pl.DataFrame, made: Residuals) -> None:
    plain = Plain(frame)
    good = np.isfinite(plain.z)
    order = np.sort(plain.level[good])
    stop = np.cumsum(made.level["n"].to_numpy())
    means = [part.mean() for part in np.split(order, stop[:-1])]
    np.testing.assert_allclose(made.level["level"].to_numpy(), means, atol=0.004)  # bins of 1 / 500 keep the order
    assert made.level["n"].sum() == made.n
    assert np.average(made.level["bias"], weights=made.level["n"]) == pytest.approx(made.bias, rel=1e-9)


def test_a_choice_is_the_same_as_a_smaller_table(frame: pl.DataFrame, tmp_path: Path) -> None:
    run = run_of(frame, tmp_path / "whole")
    for choice, part in (
        (Choice("x"), frame.filter(pl.col("channel") == "x")),
        (Choice("", "b"), frame.filter(pl.col("unique_id") == "b")),
        (Choice("w", "a"), frame.filter(pl.col("unique_id") == "a", pl.col("channel") == "w")),
    ):
        one, other = measure(run, choice), measure(run_of(part, tmp_path / "part"))
        assert one is not None
        assert other is not None
        for mine, its in ((one.step, other.step), (one.series, other.series), (one.time, other.time)):
            assert_frame_equal(mine, its, rel_tol=1e-9)
        assert (one.n, one.bias, one.sd) == pytest.approx((other.n, other.bias, other.sd))
        assert one.unit_scale == other.unit_scale
        assert np.array_equal(one.errors.counts, other.errors.counts)
        assert one.channels == ["x", "w"]
    assert measure(run, Choice("x", "nobody")) is None
    assert measure(run, Choice("nothing")) is None


def test_units_where_one_factor_does(frame: pl.DataFrame, tmp_path: Path) -> None:
    run = run_of(frame, tmp_path / "run")
    one, both = measure(run, Choice("w", "a")), measure(run, Choice("w"))
    assert one is not None
    assert errors.unit(subject(run, one)) == ([0.5], "(m/s)")
    assert errors.unit(subject(run, both)) == ([1.0], "(scaled)")


def test_without_quantiles_there_are_no_intervals(tmp_path: Path) -> None:
    run = run_of(table(20, quantiles=False), tmp_path / "run")
    found = measure(run)
    assert found is not None
    assert ends(run.predictions or tmp_path) == []
    assert (found.levels, found.below) == ([], [])
    mine = subject(run, found)
    assert [make(mine) for make in (intervals.coverage, intervals.reliability, intervals.pit)] == [None] * 3


def test_nothing_to_score(frame: pl.DataFrame, tmp_path: Path) -> None:
    empty = frame.with_columns(pl.lit(None, pl.Float64).alias("y"))
    assert measure(run_of(empty, tmp_path / "run")) is None
    pl.DataFrame().write_parquet(tmp_path / "run" / "predictions.parquet")
    assert (
        measure(run_of(frame, tmp_path / "other")._replace(predictions=tmp_path / "run" / "predictions.parquet"))
        is None
    )
    assert measure(run_of(frame, tmp_path / "third")._replace(predictions=None)) is None


def test_the_share_that_is_done_is_told(frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residuals, "SLAB", 500)
    told: list[float] = []
    measure(run_of(frame, tmp_path / "run"), Choice(), told.append)
    assert told == pytest.approx([500 / 1200, 1000 / 1200, 1.0])


def test_a_stretch_without_forecasts_is_a_gap(frame: pl.DataFrame, tmp_path: Path) -> None:
    early, late = START + timedelta(hours=20), START + timedelta(hours=40)
    found = measure(run_of(frame.filter(~pl.col("ds").is_between(early, late)), tmp_path / "run"))
    assert found is not None
    gap = found.time.filter(pl.col("n").is_null())
    assert gap.height == 1
    assert early <= gap["ds"][0] <= late
    assert found.time["n"].sum() == found.n


# Bins --------------------------------------------------------------------------------------------------------------


def counted(values: list[float]) -> bins.Bins | None:
    frame = pl.DataFrame({"z": values}, schema={"z": pl.Float64})
    return bins.bins(frame.group_by(bins.number("z")).agg(pl.len().alias("n")))


numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=200)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(numbers, st.floats(0, 1))
def test_a_quantile_is_right_to_a_bin(values: list[float], p: float) -> None:
    held = bins.bins(
        pl.DataFrame({"z": values}, schema={"z": pl.Float64}).group_by(bins.number("z")).agg(pl.len().alias("n"))
    )
    assert held is not None
    assert held.n == len(values)
    exact = float(np.quantile(values, p, method="inverted_cdf"))
    wide = 2 * (1 + abs(exact)) / bins.FINE
    assert float(held.quantiles(np.array([p]))[0]) == pytest.approx(exact, abs=wide)


@settings(deadline=None)
@given(numbers, st.floats(-1e6, 1e6))
def test_the_share_below_is_right_to_a_bin(values: list[float], x: float) -> None:
    held = counted(values)
    assert held is not None
    wide = 2 * (1 + abs(x)) / bins.FINE
    share = float(held.below(np.array([x]))[0])
    sorted_values = np.sort(values)
    low, high = np.searchsorted(sorted_values, [x - wide, x + wide], "right") / len(values)
    assert low - 1e-9 <= share <= high + 1e-9


# Autocorrelation ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 120), st.floats(0, 0.5))
def test_autocorrelation_is_that_of_statsmodels(seed: int, n: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(3, n)), 1) * 10.0 ** rng.integers(-6, 6)
    x[rng.random(x.shape) < lost] = np.nan
    x[:, :2] = rng.normal(size=(3, 2))
    lags = n // 4
    found = autocorrelation(x, lags)
    for row, mine in zip(x, found, strict=True):
        np.testing.assert_allclose(mine, acf(row, nlags=lags, fft=False, missing="conservative"), atol=1e-9)
    np.testing.assert_allclose(autocorrelation(x * -3e4 + 7.0 * np.nanmax(np.abs(x)), lags), found, atol=1e-7)


def test_errors_that_do_not_vary_have_no_autocorrelation() -> None:
    assert np.isnan(autocorrelation(np.full((1, 50), 0.1), 5)).all()


def test_the_band_holds_white_noise() -> None:
    """Of white noise a lag lies outside in 5 of 100 cases."""
    x = np.random.default_rng(1).normal(size=(400, 500))
    r = autocorrelation(x, 20)[:, 1:]
    assert (np.abs(r) > NORMAL_95 / 500**0.5).mean() == pytest.approx(0.05, abs=0.01)


def one_step(name: str, hours: list[int], z: np.ndarray) -> pl.DataFrame:
    ds = [START + timedelta(hours=h) for h in hours]
    return pl.DataFrame(
        {"unique_id": name, "channel": "x", "ds": ds, "z": z}, schema_overrides={"ds": pl.Datetime("us")}
    )


def test_gaps_are_kept_and_strides_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=100)
    kept = np.flatnonzero(rng.random(100) < 0.8)
    run = run_of(table(3), tmp_path / "run")
    one = one_step("a", [6 * int(k) for k in kept], z[kept])
    found = correlation(one, timedelta(hours=1), run, 1)
    assert found is not None
    assert (found.each, found.n, found.series) == (6, len(kept), 1)
    gapped = np.full(100, np.nan)
    gapped[kept] = z[kept]
    gapped = gapped[kept[0] : kept[-1] + 1]
    wanted = acf(gapped, nlags=len(found.r) - 1, fft=False, missing="conservative")
    np.testing.assert_allclose(found.r, wanted, atol=1e-12)
    assert correlation(one[:10], timedelta(hours=1), run, 1) is None


def test_at_most_so_many_series_are_looked_at() -> None:
    many = pl.DataFrame({"unique_id": [f"{k:05d}" for k in range(5000)], "channel": "x", "ones": 100})
    found = pick(many)
    assert found.height == 200
    assert {found["unique_id"][0], found["unique_id"][-1]} == {"00000", "04999"}
    assert pick(many.with_columns(pl.lit(1 << 20).alias("ones"))).height == 1
    assert pick(many.with_columns(pl.lit(3).alias("ones"))).height == 0


# Figures -----------------------------------------------------------------------------------------------------------

MAKERS: list[Callable[[list[Subject]], object]] = [
    errors.horizon, errors.sizes, errors.calendar, errors.week, errors.over_time, errors.series, noise.bias,
    noise.memory, noise.quantiles, noise.level, intervals.coverage, intervals.reliability, intervals.pit,
]  # fmt: skip


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_each_figure_names_units_and_what_it_shows(
    make: Callable[[list[Subject]], object], several: bool, frame: pl.DataFrame, made: Residuals, tmp_path: Path
) -> None:
    run = run_of(frame, tmp_path / "run")
    subjects = subject(run, made) + ([Subject(run, made, "other", "other")] if several else [])
    chart = make(subjects)
    assert chart is not None
    assert all(panel.x.label for panel in chart.panels)  # type: ignore[attr-defined]
    assert len(chart.alt) >= len(chart.caption) > 40  # type: ignore[attr-defined]
    assert any(character.isdigit() for character in chart.alt)  # type: ignore[attr-defined]
    names = {mark.name for panel in chart.panels for mark in panel.marks if getattr(mark, "name", "")}  # type: ignore[attr-defined]
    titles = {panel.title for panel in chart.panels}  # type: ignore[attr-defined]
    if several:
        assert {"aaren", "other"} <= names | titles


def test_normal_errors_lie_on_the_line(tmp_path: Path) -> None:
    frame = table(400)
    rng = np.random.default_rng(5)
    std = np.array([STD[k] for k in zip(frame["unique_id"], frame["channel"], strict=True)])
    frame = frame.with_columns(pl.Series("y", frame["y_hat"].to_numpy() - std * rng.normal(0.5, 2, frame.height)))
    found = measure(run_of(frame, tmp_path / "run"))
    assert found is not None
    x, y = noise.against_normal(found)
    inner = abs(x) < 2
    np.testing.assert_allclose(y[inner], x[inner], atol=0.12)
    assert noise.beyond(found) == pytest.approx(noise.NORMAL, abs=0.002)


def test_scales_without_a_scaler_are_those_of_the_actuals(frame: pl.DataFrame, tmp_path: Path) -> None:
    run = run_of(frame, tmp_path / "run")
    run.data.pop("scaler")
    lazy = scan(tmp_path / "run" / "predictions.parquet")
    assert lazy is not None
    for row in pairs(run, lazy).iter_rows(named=True):
        mine = frame.filter(pl.col("unique_id") == row["unique_id"], pl.col("channel") == row["channel"])
        assert row["std"] == pytest.approx(mine["y"].std())
        assert row["mean"] == pytest.approx(mine["y"].mean())
