"""The step of a stream as a graph that needs no code of ours: torch.export and ONNX, for any number of series.

Inputs: values (B, C) scaled, seen (B, C) bool, clock (B, F), and the state, state_0 (B, n), … one for each dtype.
Outputs: forecast (B, H, T) or (B, H, T, P), after_0, … the state after the step.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from forecast.heads.step import Step

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
    each = {0: torch.export.Dim("series", min=1, max=MOST)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecated parts
        return torch.export.export(
            step.eval(), inputs, dynamic_shapes=(each, each, each, tuple(each for _ in inputs[3:]))
        )


def to_onnx(step: Step) -> bytes:
    """The same as an ONNX model, with its weights."""
    program, (inputs, outputs) = exported(step), names(step)
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False, optimize=True
        )
    assert made is not None
    return made.model_proto.SerializeToString()


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
