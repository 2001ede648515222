"""forecast export: the file and its sheet are all that a program needs; what it forecasts is what the run streams."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from forecast.artifacts import WEIGHTS, Run, sha256
from forecast.errors import RunError, UsageError
from forecast.heads.step import Step
from forecast.heads.stream import Stream
from forecast.inference import graph
from forecast.inference.predictor import Predictor
from forecast.inference.timed import places
from forecast.verbs import export
from tests.verbs.conftest import command

HOURS, IDS = 240, ("a", "b", "c")
TINY = [
    "model.d_model=8", "model.d_ff=8", "model.heads=2", "model.layers=1", "head.tokens=5", "half_life=6",
    "task.context=24", "task.horizon=6", "trainer=smoke", "track=none", "quiet=true", "predictions=false",
]  # fmt: skip


def meters(path: Path) -> pl.DataFrame:
    """Two channels of three series of other sizes, with gaps."""
    draw, frames, hours = np.random.default_rng(0), [], np.arange(HOURS)
    for number, name in enumerate(IDS):
        load = 100 * (number + 1) + 10 * np.sin(hours / 24 * 2 * np.pi + number) + draw.standard_normal(HOURS)
        heat = 20 + 5 * np.cos(hours / 24 * 2 * np.pi) + 0.3 * draw.standard_normal(HOURS)
        for part in (load, heat):
            part[1:-1][draw.random(HOURS - 2) < 0.1] = np.nan
        time = np.datetime64("2023-12-20T00:00", "us") + (hours + 5 * number) * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "load": load, "heat": heat}))
    made = pl.concat(frames).with_columns(pl.col("load", "heat").fill_nan(None))
    made.write_parquet(path)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where a tiny masked Aaren was trained on these meters, and exported both ways."""
    folder = tmp_path_factory.mktemp("export")
    meters(folder / "m.parquet")
    words = [
        "data=series", "data.path=m.parquet", "data.target=load", "data.past=heat", "data.gaps=mask", "data.freq=h",
        "data.holidays=DE",
    ]  # fmt: skip
    command("train", "experiment=stream", *words, *TINY, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def said(place) -> str:
    return command("export", "run=latest", "output=out/model.onnx", cwd=place).stdout


@pytest.fixture(scope="module")
def run(place) -> Run:
    (path,) = (place / "runs" / "train").iterdir()
    return Run(path)


def clock(time: np.ndarray, fields: list[str], holidays: dict[str, str]) -> np.ndarray:
    """Calendar fields of UTC hours, as docs/export.md has them, and those of days off."""
    day = time.astype("datetime64[D]")
    free = np.sort(np.array([*holidays], "datetime64[D]"))
    gaps = (free[:, None] - day).astype(int)  # days to each of them
    found = {
        "yearday": (day - day.astype("datetime64[Y]")).astype(int),
        "day": (day - day.astype("datetime64[M]")).astype(int),
        "weekday": (day.astype(int) + 3) % 7,
        "hour": (time - day).astype("timedelta64[h]").astype(int),
        "holiday": np.isin(day, free),
        "holiday_in": np.where(gaps >= 0, gaps, 7).min(0).clip(max=7),
        "holiday_ago": np.where(gaps <= 0, -gaps, 7).min(0).clip(max=7),
    }
    return np.stack([found[field] for field in fields], 1).astype(np.float32)


def followed(facts, run, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """All series at once, a step at a time, from the sheet and arrays alone; a series that has not begun, or has ended,
    keeps its row of the state. Points (S, T) and the ends of the 90 % intervals (S, H, T, 2), in original units."""
    scaler, channels, targets = facts["scaler"], facts["columns"], len(facts["targets"])
    at = [scaler["ids"].index(name) for name in IDS]
    mean, std = (np.array(scaler[key])[at] for key in ("mean", "std"))
    time = np.sort(frame["ds"].unique().to_numpy())
    values = np.full((len(IDS), len(time), len(channels)), np.nan)
    there = np.zeros((len(IDS), len(time)), bool)
    for number, name in enumerate(IDS):
        own = frame.filter(pl.col("unique_id") == name)
        rows = np.searchsorted(time, own["ds"].to_numpy())
        values[number, rows] = own.select(channels).to_numpy()
        there[number, rows] = True
    state = [np.array([part["start"]] * len(IDS), part["dtype"]) for part in facts["state"]]
    made = np.zeros((len(IDS), *facts["outputs"][0]["shape"][1:]), np.float32)
    calendar = clock(time, [each["field"] for each in facts["clock"]], facts["holidays"]["days"])
    for t in range(len(time)):
        seen, rows = ~np.isnan(values[:, t]), there[:, t]
        x = np.where(seen, (values[:, t] - mean) / std, 0).astype(np.float32)
        found = run(
            [x[rows], seen[rows], np.repeat(calendar[t : t + 1], rows.sum(), 0), *(part[rows] for part in state)]
        )
        made[rows] = found[0]
        for part, new in zip(state, found[1:], strict=True):
            part[rows] = new
    last = np.array([time[own.nonzero()[0][-1]] for own in there])
    places = (last.astype("datetime64[h]").astype(int)[:, None] + 1 + np.arange(facts["horizon"])) % facts["season"]
    kept = facts["calibration"]
    ends = [kept["levels"].index(level) for level in (0.05, 0.95)]
    score = np.array(kept["score"])[..., ends] * np.array(kept["size"])[places][..., None]
    scale, shift = std[:, None, :targets], mean[:, None, :targets]
    return made * scale + shift, (made[..., None] + score) * scale[..., None] + shift[..., None]


def streamed(run: Run, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The same by the run itself, each series scanned at once."""
    predictor = Predictor.load(run)
    recipe, spec, chain = predictor.recipe, predictor.recipe.spec, predictor.chain
    series = recipe.read(frame)
    stream, points, ends = Stream(chain, len(spec.channels)).eval(), [], []
    with torch.inference_mode():
        for number in range(len(IDS)):
            rows = slice(int(series.start[number]), int(series.start[number + 1]))
            x = torch.from_numpy(recipe.scaler.apply(series.values[rows], np.full(rows.stop - rows.start, number)))
            x = x.float()[None]
            calendar = torch.from_numpy(series.clock[rows])[None]
            state = stream.scan(stream.start(1), x.nan_to_num(0.0), ~x.isnan(), calendar)
            made = stream.made(state, calendar[:, :1])
            place = (places(series, np.array([rows.stop - 1]), 1, spec.season)[1] + 1 + torch.arange(spec.horizon)) % 24
            wide = chain.output.value(made, predictor.calibration.scores(torch.tensor([0.05, 0.95]), place))
            at = np.array([number])
            points.append(recipe.scaler.undo(made.numpy(), at, spec.targets))
            ends.append(np.stack([recipe.scaler.undo(wide[..., i].numpy(), at, spec.targets) for i in (0, 1)], -1))
    return np.concatenate(points), np.concatenate(ends)


def test_a_program_with_the_file_alone_forecasts_what_the_run_streams(place, run, said):
    assert re.fullmatch(
        r"out/model\.onnx: a step of aaren, a state of [\d,]+ bytes for each series, [\d,]+ bytes; differs from torch "
        r"by at most \S+ over 24 steps; model\.onnx\.json says how to run it\n", said,
    )  # fmt: skip
    assert sorted(path.name for path in (place / "out").iterdir()) == ["model.onnx", "model.onnx.json"]
    facts = json.loads((place / "out" / "model.onnx.json").read_text())
    session = onnxruntime.InferenceSession(place / "out" / "model.onnx")
    names = [part["name"] for part in facts["inputs"]]
    assert [part.name for part in session.get_inputs()] == names
    assert [[part.name, part.shape] for part in session.get_outputs()] == [
        [part["name"], part["shape"]] for part in facts["outputs"]
    ]
    frame = pl.read_parquet(place / "m.parquet")
    found = followed(facts, lambda inputs: session.run(None, dict(zip(names, inputs, strict=True))), frame)
    for ours, theirs in zip(found, streamed(run, frame), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_the_sheet_says_what_a_run_is_made_of(place, run, said):
    facts, data = json.loads((place / "out" / "model.onnx.json").read_text()), run.read("data.json")
    assert facts["weights_sha256"] == sha256(run.path / WEIGHTS)
    assert facts["file"] == {
        "name": "model.onnx", "format": "onnx", "sha256": sha256(place / "out" / "model.onnx")
    }  # fmt: skip
    assert (facts["run"], facts["channels"], facts["targets"]) == (run.id, ["load", "heat"], ["load"])
    assert (facts["freq"], facts["season"], facts["horizon"], facts["gaps"]) == ("h", 24, 6, "mask")
    assert {key: facts["scaler"][key] for key in ("ids", "mean", "std")} == {
        key: data["scaler"][key] for key in ("ids", "mean", "std")
    }
    assert [each["field"] for each in facts["clock"]] == data["spec"]["clock"]
    assert facts["output"] == {
        "kind": "point",
        "numbers": [{"name": "value", "undo": "x * std + mean"}],
        "point": "value",
    }


@pytest.mark.long
def test_a_program_of_torch_needs_nothing_of_ours(place):
    """In a Python that cannot import forecast at all, beside the step of the run; over an older file only if asked."""
    (place / "model.pt2").write_text("older")
    command("export", "run=latest", "output=model.pt2", cwd=place, code=2)
    command("export", "run=latest", "output=model.pt2", "format=torch", "overwrite=true", cwd=place)
    code = (
        "import json, sys, warnings; sys.modules['forecast'] = None; warnings.simplefilter('ignore'); import torch\n"
        "facts, run = json.load(open('model.pt2.json')), torch.export.load('model.pt2').module()\n"
        "state = [torch.tensor([[float(x) for x in part['start']]] * 2, dtype=getattr(torch, part['dtype']))"
        " for part in facts['state']]\n"
        "for t in range(3):\n"
        "    seen, clock = torch.ones(2, 2, dtype=torch.bool), torch.ones(2, len(facts['clock']))\n"
        "    made, *state = run(torch.full((2, 2), t - 1.0), seen, clock, *state)\n"
        "print(json.dumps(made[1, :, 0].tolist()))\n"
    )
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True, check=True)
    predictor = Predictor.load(place / "runs" / "train" / next((place / "runs" / "train").iterdir()).name)
    step = Step(Stream(predictor.chain, 2), predictor.recipe.spec).eval()
    rows = step.start()
    with torch.inference_mode():
        for t in range(3):
            fields = torch.ones(1, len(step.spec.clock))
            made, *rows = step(torch.full((1, 2), t - 1.0), torch.ones(1, 2, dtype=torch.bool), fields, *rows)
    assert json.loads(done.stdout) == pytest.approx(made[0, :, 0].tolist(), abs=1e-6)


def asked(place: Path, output: Path):
    from omegaconf import OmegaConf

    words = {"run": "latest", "output": str(output), "format": None, "graph": None, "levels": None, "overwrite": False,
             "runs": str(place / "runs")}  # fmt: skip
    return OmegaConf.create(words)


def test_a_file_that_is_not_what_torch_computes_is_not_kept(place, tmp_path, monkeypatch):
    """Not even no difference is below a limit of less than none."""
    monkeypatch.setattr(export, "MOST", -1.0)
    with pytest.raises(
        RunError, match=r"differs from torch by \S+ within 24 steps; expected at most -1e\+00; nothing was"
    ):
        export.export(asked(place, tmp_path / "model.pt2"), [])
    assert [*tmp_path.iterdir()] == []


def test_another_file_is_told_apart(place, run, tmp_path):
    """One whose weights are a little different."""
    predictor = Predictor.load(run)
    step = export._step(predictor)
    (tmp_path / "x.pt2").write_bytes(graph.written(step.graph, "torch"))
    export.checked(step, tmp_path / "x.pt2", "torch", tmp_path / "x.pt2")
    with torch.no_grad():
        predictor.chain.head.projection.bias += 2e-4
    with pytest.raises(RunError, match=r"x\.pt2 differs from torch by 0\.0002"):
        export.checked(step, tmp_path / "x.pt2", "torch", tmp_path / "x.pt2")


def test_a_place_that_cannot_be_written(place, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "written", lambda step, format: b"")  # the export itself takes seconds
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"model\.onnx cannot be written: File exists; name another place"):
        export.export(asked(place, tmp_path / "file" / "model.onnx"), [])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_runs_that_have_no_such_graph(tmp_path):
    """Of events none, of classes no step; said before anything is written."""
    for task, extra, line in (
        ("event", [], "is of task=event; expected a run of series or of classes; stream it"),
        ("classify", ["graph=step"], "graph=step with a run of classification; expected graph=window; leave graph out"),
    ):
        run = tmp_path / task
        run.mkdir()
        Run(run).write("config.json", {"task": {"name": task}})
        Run(run).seal()
        done = command("export", f"run={run}", *extra, cwd=tmp_path, code=2)
        assert line in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"event", "classify"}


@pytest.mark.long
def test_a_window_of_the_same_run_by_its_name(place, run):
    """Compared over windows of test; named after the run; the second time it is there."""
    done = command("export", "run=latest", "graph=window", "levels=[0.1,0.9]", cwd=place)
    assert "24 steps in and 6 out" in done.stdout and "over 36 windows of test" in done.stdout
    facts = json.loads((place / f"{run.id}.onnx.json").read_text())
    assert facts["levels"] == [0.1, 0.9] and facts["file"]["sha256"] == sha256(place / f"{run.id}.onnx")
    command("export", "run=latest", "graph=window", cwd=place, code=2)
