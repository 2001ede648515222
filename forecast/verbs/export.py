"""forecast export: the step of a stream as a file that runs without this program, and a sheet of facts beside it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecast.artifacts import WEIGHTS, atomic, sha256
from forecast.errors import RunError, UsageError
from forecast.heads.step import Step
from forecast.heads.stream import Stream
from forecast.inference.graph import Format, difference, opened, written
from forecast.inference.predictor import Predictor
from forecast.inference.sheet import sheet, text
from forecast.verbs.checks import run_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUFFIX: Final[dict[Format, str]] = {"onnx": ".onnx", "torch": ".pt2"}
STEPS: Final = 24  # compared with torch
MOST: Final = 1e-4  # by so much a file may differ from torch


def export(cfg: "DictConfig", overrides: list[str]) -> None:
    """Write the graph, compare it with torch, keep it where the two agree; nothing is left where they do not."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    output = Path(asked["output"]).expanduser()
    format = _format(output, asked["format"])
    beside = output.with_name(f"{output.name}.json")
    for path in (output, beside):
        _free(path, asked["overwrite"])
    run = run_of(asked)
    predictor, weights = Predictor.load(run), sha256(run.checked(WEIGHTS))
    step = Step(Stream(predictor.chain, len(predictor.recipe.spec.channels)), predictor.recipe.spec).eval()
    made = written(step, format)
    try:
        with atomic(output) as graph, atomic(beside) as facts:
            graph.write_bytes(made)
            apart = checked(step, graph, format, output)
            told = sheet(
                predictor, step, run=run.id, weights=weights, file=output, digest=sha256(graph), format=format
            )  # fmt: skip
            facts.write_text(text(told), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", do="name another place") from error
    state = sum(row.nbytes for row in step.start())
    sys.stdout.write(
        f"{output}: a step of {predictor.name}, {len(made):,} bytes, a state of {state:,} bytes for each series; "
        f"differs from torch by at most {apart:.2g} over {STEPS} steps; {beside.name} says how to run it\n"
    )


def checked(step: Step, path: Path, format: Format, output: Path) -> float:
    """By how much the file differs from torch; RunError where that is more than rounding."""
    apart = difference(step, opened(path, format), steps=STEPS)
    if apart > MOST:
        raise RunError(
            f"{output} differs from torch by {apart:.2g} within {STEPS} steps", f"expected at most {MOST:.0e}",
            "nothing was written; try the other format",
        )  # fmt: skip
    return apart


def _format(output: Path, asked: Format | None) -> Format:
    """The format that the name says; UsageError for a name that says none, or another than was asked for."""
    for format, suffix in SUFFIX.items():
        if output.suffix == suffix and asked in (None, format):
            return format
    endings = [SUFFIX[asked]] if asked else SUFFIX.values()
    raise UsageError(f"output={output}", f"expected a name ending in {' or '.join(endings)}")


def _free(path: Path, overwrite: bool) -> None:
    if path.is_dir() or path.exists() and not overwrite:
        raise UsageError(f"{path} exists", do="name another file, or set overwrite=true")
