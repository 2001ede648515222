"""Labelled series of unequal length and a predictor of a small chain, not trained."""

import numpy as np
import polars as pl
import torch

from forecast.data.label_module import LabelModule
from forecast.data.label_recipe import LabelRecipe
from forecast.heads import FlatLabel, Pool
from forecast.heads.label_chain import LabelChain
from forecast.inference.class_predictor import ClassPredictor
from forecast.models import Aaren, FlatSeries, Identity, SeriesEmbedding
from forecast.streaming.class_live import ClassLive
from forecast.streaming.fold import STATUSES

START = np.datetime64("2024-01-01T00:00", "us")
CLASSES = ("slow", "quick", "odd")
LONGEST = 24


def table(*, names="abcdefghijkl", time="numbers", missing=True, seed=0) -> pl.DataFrame:
    """Steps of every series, time: numbers | stamps | None. -99 was not measured, too."""
    draw, frames = np.random.default_rng(seed), []
    for number, name in enumerate(names):
        steps = LONGEST if number == 0 else int(draw.integers(5, LONGEST + 1))
        values = np.round(draw.normal(3, 2, (steps, 2)), 3)
        if missing:
            values[draw.random((steps, 2)) < 0.15] = np.nan
            values[draw.random((steps, 2)) < 0.05] = -99.0
        at = np.cumsum(draw.integers(1, 5, steps)).astype(float) / 2
        frame = pl.DataFrame({"who": name, "flow": values[:, 0], "heat": values[:, 1], "state": CLASSES[number % 3]})
        if time == "numbers":
            frame = frame.with_columns(when=at)
        elif time == "stamps":
            frame = frame.with_columns(when=START + np.rint(at * 6e7).astype("timedelta64[us]"))
        frames.append(frame)
    return pl.concat(frames).with_columns(pl.col("flow", "heat").fill_nan(None))


def made(folder, encoder=None, *, head="mean+attention", time="numbers", stride=2, missing=True, scale="standard"):
    """A predictor of three classes at temperature 1.7."""
    table(time=time, missing=missing).write_parquet(folder / "f.parquet")
    data = LabelModule(
        path=str(folder / "f.parquet"), id="who", time="when" if time else None, label="state",
        channels=["flow", "heat"], missing=-99.0, splits={"train": 0.75, "test": 0.25}, scale=scale,
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    spec = data.spec
    embed = SeriesEmbedding(
        channels=2, missing=spec.missing, d_model=8, kernel=3, stride=stride, layers=1, norm="layer", position=True
    ) if stride else FlatSeries(channels=2, missing=spec.missing)  # fmt: skip
    encoder = encoder or (Aaren(d_model=8, heads=2, d_ff=8, layers=1) if stride else Identity(d_model=embed.d_model))
    body = {"d_memory": encoder.d_model, "classes": len(spec.classes)}
    last = FlatLabel(length=embed.length(spec.longest), **body) if head == "flat" else Pool(pool=head, **body)
    with torch.no_grad():
        last.out.weight.mul_(8)
    chain = LabelChain(embed=embed, encoder=encoder, head=last, spec=spec)
    recipe = LabelRecipe.from_state(data.state())
    return ClassPredictor(chain, recipe, "x", temperature=1.7)


def streamed(predictor, **options) -> ClassLive:
    return ClassLive(predictor, "w", **options)


def cut(predictor, frame, name, steps):
    """(K,) what `predict` tells of a series that is cut after so many steps."""
    mine = frame.filter(pl.col("who") == name)
    some = (mine.sort("when") if "when" in mine.columns else mine).head(steps)
    return predictor.predict(some).select(f"p_{k}" for k in predictor.recipe.spec.classes).row(0)


def said(taken):
    return [STATUSES[code] for code in taken.status]
