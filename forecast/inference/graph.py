"""A model as a graph that needs no code of ours: torch.export and ONNX, for any number of series at once.

The step of a stream, or the forecast of a whole window (whole.py). Inputs of a step:
 values (B, C) scaled, seen (B, C) bool, clock (B, F), and the state, state_0 (B, n), … one for each dtype.
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
from forecast.inference.whole import Whole, WholeClass
from forecast.ops.plain import ranked, table
from forecast.types import CLOCK_SIZES

Format = Literal["onnx", "torch"]
Graph = Step | Whole | WholeClass
Arrays = Sequence[np.ndarray]

AXIS: Final = "series"  # the name of the first axis
MOST: Final = 1 << 24  # series at once


def names(graph: Graph) -> tuple[list[str], list[str]]:
    """Of the inputs and the outputs."""
    if not isinstance(graph, Step):
        return list(graph.inputs), list(graph.outputs)
    kinds = range(len(graph.kinds))
    return ["values", "seen", "clock", *(f"state_{i}" for i in kinds)], ["forecast", *(f"after_{i}" for i in kinds)]


def example(graph: Graph, batch: int = 4) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and dtypes."""
    if not isinstance(graph, Step):
        return graph.example(batch)
    channels, fields = len(graph.spec.channels), len(graph.spec.clock)
    rows = [row.expand(batch, -1).clone() for row in graph.start()]
    seen = torch.ones(batch, channels, dtype=torch.bool)
    return torch.zeros(batch, channels), seen, torch.zeros(batch, fields), *rows


def exported(graph: Graph) -> torch.export.ExportedProgram:
    """The graph, for any number of series."""
    inputs = example(graph)
    each = {0: torch.export.Dim(AXIS, min=1, max=MOST)}
    named = 3 if isinstance(graph, Step) else 0  # arguments with names of their own; the others come as a tuple
    shapes = (*(each for _ in inputs[:named]), tuple(each for _ in inputs[named:]))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecated parts
        graph.eval()(*inputs)  # what is sampled once and kept is sampled now, not while the graph is traced
        made = torch.export.export(graph, inputs, dynamic_shapes=shapes)
        if not isinstance(graph, Step):
            made = made.run_decompositions(table())
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines and paths of this machine
    return made


def written(graph: Graph, format: Format) -> bytes:
    """The graph with its weights as a file: `torch` is what torch.export.load reads, `onnx` an ONNX model."""
    return to_onnx(graph) if format == "onnx" else to_torch(graph)


def to_torch(graph: Graph) -> bytes:
    """For torch.export.load."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(exported(graph), made)
    return made.getvalue()


def to_onnx(graph: Graph) -> bytes:
    """An ONNX model, its weights inside."""
    program, (inputs, outputs) = exported(graph), names(graph)
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not isinstance(graph, Step):
            program = program.run_decompositions(ranked())
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
        worst = max(worst, *(apart(a.numpy(), b) for a, b in zip([made, *ours], [found, *theirs], strict=True)))
    return worst


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """By how much b differs from a at most, as a share of what is larger than 1; inf where one is not a number."""
    with np.errstate(invalid="ignore"):
        found = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(a)))
    return float(np.nan_to_num(found, nan=np.inf).max(initial=0.0))


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
