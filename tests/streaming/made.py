"""Data of three series and a predictor of a small chain, calibrated, not trained."""

import numpy as np
import polars as pl
import torch

from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.heads import Chain, Direct
from forecast.inference.calibration import fit
from forecast.inference.predictor import Predictor
from forecast.models import Aaren, RollingNorm, ValueEmbedding
from forecast.streaming.fold import STATUSES
from forecast.streaming.live import Live

CONTEXT, HORIZON, HOURS = 12, 4, 120
START = np.datetime64("2024-01-01T00:00", "us")


def table(*, gaps=False, names="abc", hours=HOURS):
    draw, frames = np.random.default_rng(0), []
    for number, name in enumerate(names):
        y = np.sin(np.arange(hours) / 4 + number) + 0.3 * draw.standard_normal(hours) + 5 * number
        if gaps:
            y[1:][draw.random(hours - 1) < 0.1] = np.nan
        time = START + (np.arange(hours) + 7 * number) * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "y": y}))
    return pl.concat(frames).with_columns(pl.col("y").fill_nan(None))


def made(tmp_path, *, gaps="error", encoder=None, norm=None):
    """Data of three series and a predictor of a small chain, calibrated, not trained."""
    table(gaps=gaps != "error").write_parquet(tmp_path / "f.parquet")
    data = SeriesModule(
        path=str(tmp_path / "f.parquet"), time="ds", id="unique_id", target="y", freq="h", gaps=gaps,
        context=CONTEXT, horizon=HORIZON,
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    embed = ValueEmbedding(spec=data.spec, d_model=8, causal=True, position=False)
    head = Direct(spec=data.spec, d_memory=8, length=CONTEXT, tokens=3)
    encoder = encoder or Aaren(d_model=8, heads=2, d_ff=8, layers=1)
    chain = Chain(norm=norm or RollingNorm(6.0), embed=embed, encoder=encoder, head=head, masked=gaps != "error")
    scores = torch.randn(200, HORIZON, 1)
    calibration = fit(scores, torch.zeros(200, HORIZON, dtype=torch.long) % 24, 24)
    return data, Predictor(chain, Recipe.from_state(data.state()), "x", calibration=calibration)


def streamed(predictor, **options):
    """By torch: to export a graph for each test would take most of the time."""
    return Live(predictor, "w", **{"engine": "torch", **options})


def parts(live):
    """All that is known of the series, by name."""
    return {name: live.states.records(np.array([slot])) for name, slot in live.states.slots.items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def said(taken):
    return [STATUSES[code] for code in taken.status]


def of(made, name):
    """The forecast (H,) of one series."""
    return made.y_hat[made.ids.index(name), :, 0]
