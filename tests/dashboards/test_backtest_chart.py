"""The chart of a backtest."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from forecast.dashboards.charts.chart import Line, Rule, Span
from forecast.dashboards.series.backtest import POINTS, backtest, picture

ROWS = [("informer", "model"), ("informer, streamed", "streamed"), ("seasonal naive", "naive"),
        ("AutoARIMA", "baseline"), ("AutoETS", "baseline")]  # fmt: skip


def tables(covered: bool) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, object]]:
    """Steps, origins and facts of 150 origins, 50 of them in the training part, trained again once."""
    ahead, cutoffs = np.arange(1, 25), [datetime(2024, 1, 1) + timedelta(days=k) for k in range(150)]
    steps, origins = [], []
    for k, (name, kind) in enumerate(ROWS):
        mine = {"name": name, "kind": kind}
        share = list(0.9 - 0.002 * ahead) if covered and kind == "model" else [None] * 24
        steps.append(pl.DataFrame(mine | {"step": ahead, "mse": (1 + k) * ahead * 0.01, "coverage": share},
                                  schema_overrides={"coverage": pl.Float64}))  # fmt: skip
        part = ["train"] * 50 + ["test"] * 100
        origins.append(pl.DataFrame(mine | {"cutoff": cutoffs, "part": part, "values": 24, "mse": 1.0 + k}))
    facts = {"refits": [{"since": "2024-03-01"}], "levels": [0.05, 0.5, 0.95],
             "origins": {"first": "2024-01-01", "last": "2024-05-29"}}  # fmt: skip
    return pl.concat(steps), pl.concat(origins), facts


@pytest.mark.parametrize("covered", [False, True])
def test_errors_by_step_and_origin_and_what_intervals_cover(covered: bool) -> None:
    chart = backtest(*tables(covered))
    assert len(chart.panels) == 2 + covered
    by_step, by_origin = chart.panels[:2]
    lines = [mark for mark in by_step.marks if isinstance(mark, Line)]
    assert lines[-1].name == "informer"  # above the others
    assert len({(line.role, line.dash) for line in lines}) == len(ROWS)
    assert any(isinstance(mark, Span) for mark in by_origin.marks)
    assert [mark.at for mark in by_origin.marks if isinstance(mark, Rule)] == [np.datetime64("2024-03-01")]
    assert all(len(mark.x) <= POINTS for mark in by_origin.marks if isinstance(mark, Line))
    assert "informer: mean MSE 0.1250" in chart.alt
    if covered:
        assert chart.panels[2].title == "Covered by the 90 % interval"
        assert chart.panels[2].y.range == pytest.approx((0.802, 0.93))


def test_it_becomes_a_png() -> None:
    assert picture(*tables(covered=True)).startswith(b"\x89PNG")
