"""forecast export: a model as a graph that runs without this program, and a sheet of facts beside it. Of a run that
streams its step, of any run of series the forecast of a whole window, of classes their probabilities."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forecast import build
from forecast.artifacts import WEIGHTS, Run, atomic, sha256
from forecast.errors import RunError, UsageError
from forecast.heads.step import Step
from forecast.heads.stream import Stream, refusal
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.graph import Arrays, Format, Graph, difference, opened, written
from forecast.inference.predictor import Predictor
from forecast.inference.sheet import class_sheet, sheet, text, window_sheet
from forecast.inference.whole import Whole, WholeClass
from forecast.inference.window_check import class_windows, off, windows
from forecast.verbs.checks import levels_of, meaningless, run_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUFFIX: Final[dict[Format, str]] = {"onnx": ".onnx", "torch": ".pt2"}
STEPS: Final = 24  # compared with torch
MOST: Final = 1e-4  # by so much a file may differ from torch


class Made(NamedTuple):
    """A graph to write."""

    graph: Graph
    what: str  # it is
    over: str  # what it is compared over
    sheet: Callable[..., Any]  # its facts
    apart: Callable[[Callable[[Arrays], list[Any]]], float]  # by how much a file differs from torch


def export(cfg: "DictConfig", overrides: list[str]) -> None:
    """Write the graph, compare it with torch, keep it where the two agree; nothing is left where they do not."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    if asked["output"] is not None:  # said before a run is looked for
        _place(asked, "")
    run = run_of(asked)
    output, format = _place(asked, run.id)
    beside = output.with_name(f"{output.name}.json")
    made, weights = graph_of(asked, run), sha256(run.checked(WEIGHTS))
    content = written(made.graph, format)
    try:
        with atomic(output) as graph, atomic(beside) as facts:
            graph.write_bytes(content)
            apart = checked(made, graph, format, output)
            told = made.sheet(run=run.id, weights=weights, file=output, digest=sha256(graph), format=format)
            facts.write_text(text(told), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", do="name another place") from error
    sys.stdout.write(
        f"{output}: {made.what}, {len(content):,} bytes; differs from torch by at most {apart:.2g} over {made.over}; "
        f"{beside.name} says how to run it\n"
    )


def graph_of(asked: dict[str, Any], run: Run) -> Made:
    """The graph that is asked for; without a word the step of a model that streams, else the window."""
    config = run.read("config.json")
    task, kind = build.task_of(config), asked["graph"]
    if task == "event":
        raise UsageError(
            f"run {run.id} is of task=event", "expected a run of series or of classes",
            "stream it: forecast stream; its sampled futures are no graph",
        )  # fmt: skip
    if task == "classify":
        meaningless(asked, ("levels",), "a run of classification", "it has no quantiles")
        if kind == "step":
            raise UsageError("graph=step with a run of classification", "expected graph=window", "leave graph out")
        return _class(ClassPredictor.load(run), run, config)
    predictor = Predictor.load(run)
    if kind == "step" or kind is None and refusal(predictor.chain) is None:
        meaningless(asked, ("levels",), "graph=step", "its quantiles are made outside, from the sheet")
        return _step(predictor)
    return _window(predictor, run, config, asked)


def _step(predictor: Predictor) -> Made:
    step = Step(Stream(predictor.chain, len(predictor.recipe.spec.channels)), predictor.recipe.spec).eval()
    state = sum(row.nbytes for row in step.start())
    what = f"a step of {predictor.name} with a state of {state:,} bytes for each series"
    return Made(step, what, f"{STEPS} steps", partial(sheet, predictor, step), partial(difference, step, steps=STEPS))


def _window(predictor: Predictor, run: Run, config: dict[str, Any], asked: dict[str, Any]) -> Made:
    levels, spec = predictor.asked(levels_of(asked["levels"])), predictor.recipe.spec
    whole = Whole(predictor.chain, spec, predictor.calibration, levels).eval()
    what = f"the forecast of {predictor.name}, {spec.context} steps in and {spec.horizon} out"
    found, over = windows(predictor, whole, run, config)
    return Made(whole, what, over, partial(window_sheet, predictor, whole), partial(off, found))


def _class(predictor: ClassPredictor, run: Run, config: dict[str, Any]) -> Made:
    whole = WholeClass(predictor.chain, predictor.temperature).eval()
    spec = predictor.recipe.spec
    what = f"the classes of {predictor.name}, {spec.longest} steps in and {len(spec.classes)} probabilities out"
    found, over = class_windows(predictor, run, config)
    return Made(whole, what, over, partial(class_sheet, predictor, whole), partial(off, found))


def checked(made: Made, path: Path, format: Format, output: Path) -> float:
    """By how much the file differs from torch; RunError where that is more than rounding."""
    apart = made.apart(opened(path, format))
    if apart > MOST:
        raise RunError(
            f"{output} differs from torch by {apart:.2g} within {made.over}", f"expected at most {MOST:.0e}",
            "nothing was written; try the other format",
        )  # fmt: skip
    return apart


def _place(asked: dict[str, Any], name: str) -> tuple[Path, Format]:
    """Where the graph goes, after `name` where no output is given, and in which format; nothing may be there."""
    given: Format | None = asked["format"]
    if asked["output"] is None:
        format = given or "onnx"
        output = Path(f"{name}{SUFFIX[format]}")
    else:
        output = Path(asked["output"]).expanduser()
        format = _format(output, given)
    for path in (output, output.with_name(f"{output.name}.json")):
        if path.is_dir() or path.exists() and not asked["overwrite"]:
            raise UsageError(f"{path} exists", do="name another file, or set overwrite=true")
    return output, format


def _format(output: Path, asked: Format | None) -> Format:
    """The format that the name says; UsageError for a name that says none, or another than was asked for."""
    for format, suffix in SUFFIX.items():
        if output.suffix == suffix and asked in (None, format):
            return format
    endings = [SUFFIX[asked]] if asked else SUFFIX.values()
    raise UsageError(f"output={output}", f"expected a name ending in {' or '.join(endings)}")
