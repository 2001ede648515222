"""The leak canary: what is stamped after a cutoff is scrambled, and every forecast made before it is bitwise equal.

A law for every model and every verb that forecasts. A new file in conf/model gets its tests by being there.
"""

from pathlib import Path
from typing import Any

import hydra
import numpy as np
import polars as pl
import pytest

from forecast import build, config
from forecast.artifacts import Run, sha256
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import score
from forecast.verbs.help import choices
from forecast.verbs.train import train
from forecast.where import CONF

HOURS, CONTEXT, HORIZON = 900, 24, 6
START = np.datetime64("2024-01-01T00:00", "us")
VAL, TEST = "2024-01-26", "2024-02-01"
CUTOFF = np.datetime64("2024-02-03T07:00", "us")  # within the test part
SMALL = {
    "aaren": ["model.d_model=8", "model.heads=2", "model.d_ff=8"],
    "informer": ["model.d_model=8", "model.heads=2", "model.d_ff=8"],
    "informer_tiny": [],
    "linear": [],
    "lstm": ["model.d_model=8"],
    "none": ["embed.d_model=8"],
    "tcnca": ["model.d_model=8", "model.d_key=4", "model.d_ff=8", "model.chunk=7", "model.depth=2"],
    "transformer": ["model.d_model=8", "model.heads=2", "model.d_ff=8"],
}
SEGMENTS = ("embed=patch", "head=segments", "head.segment=4", "head.calendar=timeF", "head.attention=true")
COMMON = [
    "data=series", "data.time=ds", "data.id=unique_id", "data.target=y", "data.past=[x]", "data.freq=h",
    f"data.splits={{val: '{VAL}', test: '{TEST}'}}", f"task.context={CONTEXT}", f"task.horizon={HORIZON}",
    "trainer=smoke", "trainer.limit_train_batches=3", "track=none", "quiet=true", "insight=false",
]  # fmt: skip


def panel(*, gaps: bool) -> pl.DataFrame:
    """Two hourly series with a target and a channel that is only looked at."""
    draw, hours, frames = np.random.default_rng(0), np.arange(HOURS), []
    for number, name in enumerate("ab"):
        day = np.sin(hours * (2 * np.pi / 24) + number)
        y, x = 5 * number + day + 0.3 * draw.standard_normal(HOURS), day + draw.standard_normal(HOURS)
        if gaps:
            y[draw.random(HOURS) < 0.05] = np.nan
            x[draw.random(HOURS) < 0.05] = np.nan
        time = START + hours * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "y": y, "x": x}))
    return pl.concat(frames)


def scrambled(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows; after the cutoff other values, larger by far, and other gaps where there are gaps."""
    draw = np.random.default_rng(1)
    late = pl.col("ds") > CUTOFF
    has_gaps = frame["y"].is_nan().any()
    for name in ("y", "x"):
        noise = 1e4 * draw.standard_normal(frame.height)
        if has_gaps:
            noise[draw.random(frame.height) < 0.3] = np.nan
        frame = frame.with_columns(pl.when(late).then(pl.Series(noise)).otherwise(pl.col(name)).alias(name))
    return frame


def trained(file: Path, model: str, words: list[str], runs: Path) -> Run:
    config.register()
    overrides = [f"model={model}", *COMMON, *SMALL[model], f"data.path={file}", f"runs={runs}", *words]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        train(hydra.compose("train", overrides), overrides)
    (path,) = (runs / "train").iterdir()
    return Run(path)


WAYS = (("error", "instance"), ("fill", "none"), ("mask", "instance"))


def grid() -> list[Any]:
    """Every model with every way; in the suite each model goes one of them, the others are long."""
    made = []
    for m, model in enumerate(choices("model")):
        for w, way in enumerate(WAYS):
            made.append(pytest.param((model, *way), marks=[] if w == m % len(WAYS) else [pytest.mark.long]))
    return [*made, pytest.param(("lstm", "mask", "instance", *SEGMENTS))]


@pytest.fixture(scope="module", params=grid(), ids=lambda p: "/".join(p))
def pair(request, tmp_path_factory):
    """One model trained on the data, and on the data with a scrambled future."""
    model, gaps, norm, *words = request.param
    place = tmp_path_factory.mktemp("canary")
    plain = panel(gaps=gaps != "error")
    runs = []
    for name, frame in (("plain", plain), ("scrambled", scrambled(plain))):
        file = place / name / "data.parquet"
        file.parent.mkdir()
        frame.write_parquet(file)
        runs.append(trained(file, model, [f"data.gaps={gaps}", f"norm={norm}", *words], place / name / "runs"))
    return runs


def test_every_model_is_under_the_law():
    assert set(SMALL) == set(choices("model")), "give the new model a small size in SMALL"


def test_training_and_its_choice_of_weights_do_not_look_ahead(pair):
    one, two = (sha256(run.path / "model.safetensors") for run in pair)
    assert one == two
    scalers = [run.read("data.json")["scaler"] for run in pair]
    assert scalers[0] == scalers[1]


def test_forecasts_before_the_cutoff_are_bitwise_equal(pair):
    made = [pl.read_parquet(run.path / "predictions.parquet") for run in pair]
    early = [frame.filter(pl.col("cutoff") <= CUTOFF).drop("y") for frame in made]
    assert early[0].height > 2 * 50 * HORIZON
    assert early[0].equals(early[1])
    late = [frame.filter(pl.col("cutoff") > CUTOFF)["y_hat"] for frame in made]
    assert not late[0].equals(late[1])  # the canary does sing


def test_scores_of_the_validation_part_are_equal_in_every_row(pair):
    """What `forecast evaluate split=val` prints: the model, the naive rows, ridge."""
    rows = []
    for run in pair:
        data = build.data(run.read("config.json")).prepare()
        predictor = Predictor.load(run)
        rows.append(score(data, predictor.forecast, predictor.name, part="val"))
    assert len(rows[0]) >= 4
    assert rows[0] == rows[1]


def test_a_forecast_of_one_series_does_not_see_what_came_later_in_another(pair):
    """`forecast predict`: series a ends at the cutoff, b goes on."""
    predictor = Predictor.load(pair[0])
    ends = ~((pl.col("unique_id") == "a") & (pl.col("ds") > CUTOFF))
    plain = panel(gaps=predictor.recipe.gaps != "error")
    one, two = (predictor.predict(frame.filter(ends)) for frame in (plain, scrambled(plain)))
    a = pl.col("unique_id") == "a"
    assert one.filter(a).height == HORIZON
    assert one.filter(a).equals(two.filter(a))
    assert not one.filter(~a).equals(two.filter(~a))
