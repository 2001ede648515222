"""The step of a stream as a graph that needs no code of ours: torch.export and ONNX, for any number of series.

Inputs: values (B, C) scaled, seen (B, C) bool, clock (B, F), and the state, state_0 (B, n), … one for each dtype.
Outputs: forecast (B, H, T) or (B, H, T, P), after_0, … the state after the step.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from forecast.heads.step import Step
from forecast.types import CLOCK_SIZES

Format = Literal["onnx", "torch"]
Arrays = Sequence[np.ndarray]

AXIS: Final = "series"  # the name of the first axis
MOST: Final = 1 << 24  # series at once


def names(step: Step) -> tuple[list[str], list[str]]:
    """Of the inputs and the outputs."""
    kinds = range(len(step.kinds))
    return ["values", "seen", "clock", *(f"state_{i}" for i in kinds)], ["forecast", *(f"after_{i}" for i in kinds)]


def example(step: Step, batch: int = 4) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and dtypes."""
    channels, fields = len(step.spec.channels), len(step.spec.clock)
    rows = [row.expand(batch, -1).clone() for row in step.start()]
    seen = torch.ones(batch, channels, dtype=torch.bool)
    return torch.zeros(batch, channels), seen, torch.zeros(batch, fields), *rows


def exported(step: Step) -> torch.export.ExportedProgram:
    """The graph, for any number of series."""
    inputs = example(step)
    each = {0: torch.export.Dim(AXIS, min=1, max=MOST)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecated parts
        made = torch.export.export(
            step.eval(), inputs, dynamic_shapes=(each, each, each, tuple(each for _ in inputs[3:]))
        )
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines and paths of this machine
    return made


def written(step: Step, format: Format) -> bytes:
    """The graph with its weights as a file: `torch` is what torch.export.load reads, `onnx` an ONNX model."""
    return to_onnx(step) if format == "onnx" else to_torch(step)


def to_torch(step: Step) -> bytes:
    """For torch.export.load."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(exported(step), made)
    return made.getvalue()


def to_onnx(step: Step) -> bytes:
    """An ONNX model, its weights inside."""
    program, (inputs, outputs) = exported(step), names(step)
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False, optimize=True
        )
    assert made is not None
    model = made.model_proto
    own = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # the exporter forgets what we call it
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == own:
                axis.dim_param = AXIS
    for node in model.graph.node:
        node.ClearField("metadata_props")  # where in our code it stands: as large as the graph
    return model.SerializeToString()


def opened(path: Path, format: Format) -> Callable[[Arrays], list[np.ndarray]]:
    """A file of `written` as a function of arrays: the inputs -> the outputs, in order."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        wanted = [put.name for put in session.get_inputs()]
        return lambda inputs: list(session.run(None, dict(zip(wanted, inputs, strict=True))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def run(inputs: Arrays) -> list[np.ndarray]:
        with torch.no_grad():
            return [part.numpy() for part in program(*(torch.from_numpy(part) for part in inputs))]

    return run


@torch.inference_mode()
def difference(
    step: Step, run: Callable[[Arrays], list[np.ndarray]], *, steps: int = 24, batch: int = 3, seed: int = 0
) -> float:
    """By how much `steps` steps of `batch` series of random values differ at most between `step` and a file, each with
    a state of its own: of forecasts and states, as a share of what is larger than 1; inf where one is not a number."""
    draw, worst = np.random.default_rng(seed), 0.0
    channels, fields = len(step.spec.channels), np.array([CLOCK_SIZES[field] for field in step.spec.clock])
    ours: Any = tuple(row.expand(batch, -1).clone() for row in step.start())
    theirs: Any = [row.numpy().copy() for row in ours]
    for _ in range(steps):
        values = draw.standard_normal((batch, channels)).astype(np.float32)
        seen = draw.random((batch, channels)) < 0.8
        clock = draw.integers(0, fields, (batch, len(fields))).astype(np.float32)
        now = np.where(seen, values, np.float32(0)), seen, clock
        made, *ours = step(*(torch.from_numpy(part) for part in now), *ours)
        found, *theirs = run([*now, *theirs])
        worst = max(worst, *(_apart(a.numpy(), b) for a, b in zip([made, *ours], [found, *theirs], strict=True)))
    return worst


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells what parts of torchvision it lacks, and how far it has got."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
