"""What stands beside an exported step (graph.py): all that a program needs to run it, and nothing of ours.

Plain JSON. A number that JSON has not (-inf) is its word, which numpy and `float` read: np.array(start, dtype).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from forecast import __version__
from forecast.data.freq import parse_freq
from forecast.heads import NegativeBinomial, Normal, Point, Quantiles, StudentT, ZeroInflated
from forecast.heads.step import Step
from forecast.inference import calibration
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.graph import AXIS, Format, example, names
from forecast.inference.predictor import Predictor, column
from forecast.inference.whole import Whole, WholeClass
from forecast.types import CLOCK_SIZES

VERSION: Final = 1
UNDONE: Final = "x * std + mean"  # a place on the scale of the data,
WIDTH: Final = "x * std"  # a length on it,
BARE: Final = "x"  # a number without a unit
# Output → its numbers, in order, each with the way back to original units; and the one number of a forecast.
NUMBERS: Final[Mapping[type, tuple[tuple[tuple[str, str], ...], str]]] = {
    Point: ((("value", UNDONE),), "value"),
    Normal: ((("mean", UNDONE), ("deviation", WIDTH)), "mean"),
    StudentT: ((("location", UNDONE), ("scale", WIDTH), ("degrees of freedom", BARE)), "location"),
    NegativeBinomial: ((("mean", UNDONE), ("r", BARE)), "mean"),
    ZeroInflated: (
        (("mean", UNDONE), ("r", BARE), ("logit of the share of zeros", BARE)),
        "mean * (1 - share of zeros)",
    ),
}
HOW: Final = (
    "A step is one period of freq, observed or not; series are rows, any number of them, each with its own state.",
    "values: (x - mean) / std of each channel, 0 where nothing was observed. seen: where something was.",
    "clock: the calendar fields of this step, counted from 0, on the wall clock of zone (null: UTC).",
    "state_i: the row `start` before the first step of a series, then after_i of the step before.",
    "forecast: after this step, of the next horizon steps of each target; output.numbers says how it is undone.",
    "A series that is not in scaler.ids takes scaler.others.",
)
# A line, and the inputs or outputs it is about; none: it always holds.
WINDOW: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    ((), "A window is context steps of freq, then horizon steps; windows are rows, any number of them."),
    (("past",), "past: (x - mean) / std of each channel, 0 where nothing was observed. seen: where something was."),
    (("past_clock",), "past_clock, future_clock: calendar fields of each step from 0, on the clock of zone (null: UTC)."),
    (
        ("place",),
        "place: of each step to come, its count of steps of freq since 1970 (days and longer on the wall clock of zone, "
        "else UTC) modulo season.",
    ),
    (
        ("known_past", "static"),
        "known_past, static: covariates in their order, numbers as (x - mean) / std, categories as 1 + their place in "
        "codes, 0 for another; where the last axis is twice as long, behind them 1 for each that was known, else 0.",
    ),
    (("known_future",), "known_future: of the steps to come, the covariates of the role known_future."),
    (("point",), "point: x * std + mean of each target is the forecast, clipped to bounds."),
    (("quantiles",), "quantiles: the same at levels, the calibration in it."),
    (("forecast",), "forecast: the numbers of the output, see output; quantiles are made outside, see calibration."),
    ((), "A series that is not in scaler.ids takes scaler.others."),
)
CLASSES: Final = (
    "A series is a row, any number of them; its steps come first, what is behind them is 0 and not seen.",
    "values: (x - mean) / std of each channel, 0 where nothing was measured. seen: where something was.",
    "length: steps of the series, 1 to longest; of a longer one its last steps are the nearest to what training saw.",
    "probabilities: of classes, in order.",
)
COUNT: Final = "the smallest count whose probability, or less, reaches the normal distribution function at score"
VALUE: Final[Mapping[type, str]] = {
    Point: "value + score",
    Quantiles: "linear in normal[i] -> the quantile of level i, at score, beyond the last two as steep as between them",
    Normal: "mean + deviation * score",
    StudentT: "location + scale * score",
    NegativeBinomial: COUNT,
    ZeroInflated: COUNT,
}


def sheet(predictor: Predictor, step: Step, *, run: str, weights: str, file: Path, digest: str, format: Format) -> Any:
    """The facts, as JSON types. `weights` and `digest` are the sha256 of the run's weights and of the graph."""
    return {
        **_origin(predictor.name, run, weights, file, digest, format),
        **tensors(step),
        **_data(predictor),
        "output": numbers(predictor),
        "bounds": _bounds(predictor),
        "calibration": calibrated(predictor),
        "how": list(HOW),
    }


def window_sheet(
    predictor: Predictor, whole: Whole, *, run: str, weights: str, file: Path, digest: str, format: Format
) -> Any:
    """The facts of a graph of whole windows."""
    bare = {"output": numbers(predictor), "calibration": calibrated(predictor)} if "forecast" in whole.outputs else {}
    return {
        **_origin(predictor.name, run, weights, file, digest, format),
        **_ends(whole),
        **_data(predictor),
        "context": predictor.recipe.spec.context,
        "levels": list(whole.levels),
        "covariates": _covariates(predictor),
        "bounds": _bounds(predictor),
        **bare,
        "how": [line for words, line in WINDOW if not words or {*words} & {*whole.inputs, *whole.outputs}],
    }


def class_sheet(
    predictor: ClassPredictor, whole: WholeClass, *, run: str, weights: str, file: Path, digest: str, format: Format
) -> Any:
    """The facts of a graph of classes."""
    recipe, spec = predictor.recipe, predictor.recipe.spec
    return {
        **_origin(predictor.name, run, weights, file, digest, format),
        **_ends(whole),
        "channels": list(spec.channels),
        "units": list(spec.units),
        "scaler": {"mean": list(recipe.scale.mean), "std": list(recipe.scale.std)},
        "longest": spec.longest,
        "missing": list(recipe.columns.missing),
        "classes": list(spec.classes),
        "how": list(CLASSES),
    }


def _origin(name: str, run: str, weights: str, file: Path, digest: str, format: Format) -> dict[str, Any]:
    """Where a graph comes from."""
    return {
        "version": VERSION, "forecast": __version__, "run": run, "model": name, "weights_sha256": weights,
        "file": {"name": file.name, "format": format, "sha256": digest},
    }  # fmt: skip


def _data(predictor: Predictor) -> dict[str, Any]:
    """What the columns are, and how they are brought to what the graph takes."""
    recipe, spec, card = predictor.recipe, predictor.recipe.spec, predictor.recipe.card
    sources = {channel.name: channel.source for channel in card.channels}
    return {
        "channels": list(spec.channels),
        "columns": [sources[name] for name in spec.channels],
        "targets": list(spec.channels[: spec.targets]),
        "units": list(spec.units),
        "clock": [{"field": field, "values": CLOCK_SIZES[field]} for field in spec.clock],
        "zone": card.time.zone,
        "holidays": recipe.holidays.to_dict() if recipe.holidays else None,
        "freq": spec.freq,
        "season": spec.season,
        "horizon": spec.horizon,
        "gaps": recipe.gaps,
        "scaler": scales(predictor),
    }


def _bounds(predictor: Predictor) -> dict[str, float | None]:
    return dict(zip(("min", "max"), predictor.bounds, strict=True))


def _covariates(predictor: Predictor) -> list[dict[str, Any]]:
    """Each in the order of its input: known ahead, then seen in the past only; then facts of series."""
    coding, card = predictor.recipe.coding, predictor.recipe.card
    sources = {channel.name: channel.source for channel in card.channels}
    return [
        {"name": each.name, "column": sources[each.name], "role": each.role, "mean": each.mean, "std": each.std,
         "codes": None if each.words is None else list(each.words)}
        for each in (coding.columns if coding else ())
    ]  # fmt: skip


def _ends(graph: Whole | WholeClass) -> dict[str, Any]:
    """Names, dtypes and shapes of what goes in and comes out."""
    ones = graph.example(1)
    with torch.inference_mode():
        found = graph(*ones)
    return {
        "inputs": [_facts(name, part) for name, part in zip(graph.inputs, ones, strict=True)],
        "outputs": [_facts(name, part) for name, part in zip(graph.outputs, found, strict=True)],
    }


def _facts(name: str, part: Tensor) -> dict[str, Any]:
    return {"name": name, "dtype": str(part.dtype).removeprefix("torch."), "shape": [AXIS, *part.shape[1:]]}


def tensors(step: Step) -> dict[str, Any]:
    """Names, dtypes and shapes of what goes in and comes out, and the state of a series that has not begun."""
    inputs, outputs = names(step)
    ones = example(step, 1)
    with torch.inference_mode():
        found = step(*ones)

    start = [
        {"input": was, "output": after, "dtype": str(row.dtype).removeprefix("torch."), "start": plain(row[0])}
        for was, after, row in zip(inputs[3:], outputs[1:], step.start(), strict=True)
    ]
    return {
        "inputs": [_facts(name, part) for name, part in zip(inputs, ones, strict=True)],
        "outputs": [_facts(name, part) for name, part in zip(outputs, found, strict=True)],
        "state": start,
    }


def scales(predictor: Predictor) -> dict[str, Any]:
    """By what the values of each series are scaled."""
    scaler = predictor.recipe.scaler
    others = {"mean": scaler.mean.mean(axis=0).tolist(), "std": scaler.std.mean(axis=0).tolist()}
    return {**scaler.to_dict(), "others": others}


def numbers(predictor: Predictor) -> dict[str, Any]:
    """What the last axis of a forecast holds (none: one number), and how each is brought to original units."""
    output = predictor.chain.output
    if isinstance(output, Quantiles):
        levels = [float(f"{level:.7g}") for level in output.levels.tolist()]
        parts, point = tuple((column(level), UNDONE) for level in levels), column(0.5)
    else:
        parts, point = NUMBERS[type(output)]
    kind = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(output).__name__).lstrip("_")
    return {"kind": kind, "numbers": [{"name": name, "undo": undo} for name, undo in parts], "point": point}


def calibrated(predictor: Predictor) -> dict[str, Any] | None:
    """The intervals of the run, of scaled forecasts; None where it has none but those of its output."""
    held, output = predictor.calibration, predictor.chain.output
    if held is None:
        return None
    freq = parse_freq(predictor.recipe.spec.freq)
    where = "the wall clock of zone" if freq.wall else "UTC"
    own = {"normal": plain(torch.special.ndtri(output.levels))} if isinstance(output, Quantiles) else {}
    return {
        "levels": list(calibration.LEVELS),
        "score": plain(held.table),  # (H, T, levels)
        "size": plain(held.scale),  # (places, T)
        **own,
        "how": [
            f"place of a step: its count of steps of {predictor.recipe.spec.freq} since 1970 ({where}) modulo season.",
            "the quantile of a level, of step h and target t: score = score[h][t][level] * size[place of step h][t],",
            f"then {VALUE[type(output)]}; all in scaled units, then undone.",
        ],
    }


def plain(part: Tensor) -> Any:
    """Nested lists of Python numbers, the shortest that are these; what is not finite as a word."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(each) for each in value]
        if not np.isfinite(value):
            return str(value)
        return value if part.dtype in (torch.float64, torch.int64, torch.bool) else float(f"{value:.9g}")

    return one(part.tolist())


def text(facts: Mapping[str, Any]) -> str:
    """As JSON, a line for each fact."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
