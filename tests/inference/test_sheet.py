"""What is written beside an exported step: enough to run it, and plain."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from forecast import __version__
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.heads import Chain, Direct, NegativeBinomial, Normal, Point, Quantiles, StudentT, ZeroInflated
from forecast.heads.step import Step
from forecast.heads.stream import Stream
from forecast.inference import graph
from forecast.inference.calibration import LEVELS, fit
from forecast.inference.predictor import Predictor
from forecast.inference.sheet import NUMBERS, VALUE, sheet, text, window_sheet
from forecast.inference.whole import Whole
from forecast.models import Aaren, Identity, RollingNorm, ValueEmbedding

CONTEXT, HORIZON, HOURS = 24, 6, 240
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
OUTPUTS = [Point(), Quantiles((0.1, 0.5, 0.9)), Normal(), StudentT(), NegativeBinomial(), ZeroInflated()]


def made(folder: Path, output, encoder=None, *, calibrated: bool = True, bounds=(None, None)) -> Predictor:
    """A small chain with weights that do something, over hours of a load with a daily course."""
    draw, hours = np.random.default_rng(0), np.arange(HOURS)
    load = 100 + 10 * np.sin(hours / 24 * 2 * np.pi) + draw.standard_normal(HOURS)
    time = np.datetime64("2024-02-26T00:00", "us") + hours * np.timedelta64(1, "h")
    frame = pl.DataFrame({"time": time, "load": load}).with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M"))
    frame.write_csv(folder / "load.csv")
    data = SeriesModule(
        path=str(folder / "load.csv"), time="time", target="load", freq="h", context=CONTEXT, horizon=HORIZON
    ).prepare()
    torch.manual_seed(0)
    embed = ValueEmbedding(spec=data.spec, d_model=8, causal=True, position=False)
    head = Direct(spec=data.spec, d_memory=8, length=CONTEXT, tokens=3, width=output.width)
    torch.nn.init.normal_(head.projection.weight, std=0.2)
    encoder = encoder or Identity(d_model=8)
    chain = Chain(norm=RollingNorm(6.0), embed=embed, encoder=encoder, head=head, masked=False, output=output)
    held = fit(torch.randn(200, HORIZON, 1), torch.arange(200)[:, None].expand(-1, HORIZON) % 24, 24)
    recipe = Recipe.from_state(data.state())
    return Predictor(chain, recipe, "small", calibration=held if calibrated else None, bounds=bounds)


def facts_of(predictor: Predictor) -> tuple[Step, dict]:
    step = Step(Stream(predictor.chain, 1), predictor.recipe.spec).eval()
    told = sheet(
        predictor, step, run="r", weights="w", file=Path("out/model.onnx"), digest="d", format="onnx"
    )  # fmt: skip
    written = text(told)
    assert json.loads(written) == told
    assert written.count("\n") == len(told) + 2  # a line for each fact
    return step, told


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_the_numbers_of_a_forecast_have_names(tmp_path, output):
    step, facts = facts_of(made(tmp_path, output, calibrated=False))
    numbers = facts["output"]["numbers"]
    shape = facts["outputs"][0]["shape"]
    assert shape == ["series", HORIZON, 1] + ([len(numbers)] if output.width > 1 else [])
    assert len(numbers) == output.width
    assert facts["calibration"] is None
    assert {*NUMBERS, Quantiles} == {*VALUE} == {type(each) for each in OUTPUTS}
    if isinstance(output, Quantiles):
        assert [each["name"] for each in numbers] == ["q10", "q50", "q90"]
        assert facts["output"]["point"] == "q50"
    assert facts["forecast"] == __version__
    assert facts["file"] == {"name": "model.onnx", "format": "onnx", "sha256": "d"}


def test_the_start_and_the_tables_lose_nothing(tmp_path):
    predictor = made(tmp_path, Quantiles((0.1, 0.5, 0.9)), Aaren(d_model=8, heads=2, d_ff=8, layers=1), bounds=(0, 500))
    step, facts = facts_of(predictor)
    for part, row in zip(facts["state"], step.start(), strict=True):
        assert "-inf" in part["start"] or part["dtype"] == "int64"
        found = np.array([part["start"]], part["dtype"])
        assert np.array_equal(found, row.numpy())
    kept = facts["calibration"]
    assert kept["levels"] == list(LEVELS)
    assert np.array_equal(np.array(kept["score"], np.float32), predictor.calibration.table.numpy())
    assert np.array_equal(np.array(kept["size"], np.float32), predictor.calibration.scale.numpy())
    assert kept["normal"] == pytest.approx([-1.2816, 0, 1.2816], abs=1e-4)
    assert facts["bounds"] == {"min": 0, "max": 500}
    assert facts["scaler"]["others"]["mean"] == pytest.approx([100], abs=2)


def alone(folder: Path, number: int) -> list[str]:
    """What an example of the page prints, in a Python that cannot import forecast."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[number]
    words = [sys.executable, "-c", f"import sys; sys.modules['forecast'] = None\n{code}"]
    env = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip


@pytest.mark.long
def test_the_example_of_a_window_says_what_the_run_forecasts(tmp_path):
    predictor = made(tmp_path, Point())
    whole = Whole(predictor.chain, predictor.recipe.spec, predictor.calibration).eval()
    facts = window_sheet(predictor, whole, run="r", weights="w", file=Path("window.onnx"), digest="d", format="onnx")
    (tmp_path / "window.onnx").write_bytes(graph.written(whole, "onnx"))
    (tmp_path / "window.onnx.json").write_text(text(facts))
    lines = [line.split() for line in alone(tmp_path, 1)]
    ours = predictor.predict(tmp_path / "load.csv").head(4)
    assert [line[0] for line in lines] == ours["ds"].dt.strftime("%Y-%m-%dT%H").to_list()
    found = np.array([[float(each) for each in line[1:4]] for line in lines])
    np.testing.assert_allclose(found, ours.select("y_hat", "q05", "q95").to_numpy(), atol=0.051)


def test_the_example_of_the_page_runs_and_gives_the_stream_of_the_run(tmp_path):
    """In a Python that cannot import forecast: the point and the 90 % interval, as they are printed."""
    predictor = made(tmp_path, Point())
    step, facts = facts_of(predictor)
    (tmp_path / "model.onnx").write_bytes(graph.written(step, "onnx"))
    (tmp_path / "model.onnx.json").write_text(text(facts))
    said = alone(tmp_path, 0)
    series, scaler = predictor.recipe.read(tmp_path / "load.csv"), predictor.recipe.scaler
    past, calendar = (torch.from_numpy(part).float()[None] for part in (series.values, series.clock))
    past = (past - scaler.mean[0, 0]) / scaler.std[0, 0]
    with torch.inference_mode():
        stream = Stream(predictor.chain, 1).eval()
        point = stream.made(stream.scan(stream.start(1), past, None, calendar), calendar[:, :1])
    after = (HOURS + torch.arange(HORIZON)) % 24  # 1970 and this series both begin at midnight
    score = predictor.calibration.scores(torch.tensor([0.05, 0.95]), after[None])
    wide = torch.cat([point[..., None], point[..., None] + score], -1)[0, :, 0].double()
    expected = wide.numpy() * scaler.std[0, 0] + scaler.mean[0, 0]
    lines = [line.split() for line in said]
    assert [line[0] for line in lines] == [f"2024-03-07T0{h}:00" for h in range(4)]
    found = np.array([[float(each) for each in line[1:4]] for line in lines])
    np.testing.assert_allclose(found, expected[:4], atol=0.051)
