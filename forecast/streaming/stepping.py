"""What runs the step of a stream: ONNX Runtime, eight times as fast as torch for one series, or torch itself.

The graph of a run is made once and kept in the user's cache, under a name that holds the weights and the code it was
made of.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from forecast import __version__
from forecast.artifacts import atomic
from forecast.heads.step import Step
from forecast.where import PACKAGE

log = logging.getLogger(__name__)

Engine = Literal["auto", "onnx", "torch"]
Floats = NDArray[np.float32]
Rows = tuple[NDArray[Any], ...]  # of states: one matrix (B, n) for each dtype
PLAIN: Final = (bool, int, float, str, tuple, list, type(None))
PIECE: Final = 512
AT_ONCE: Final = 1 << 14  # series in one call: what a step needs beside its states stays bounded


class Stepper(Protocol):
    """One step of B series."""

    name: Engine

    def __call__(
        self, values: Floats, seen: NDArray[np.bool_], clock: Floats, rows: Sequence[NDArray[Any]]
    ) -> tuple[Floats, Rows]:
        """values and seen (B, C), clock (B, F), rows of states -> the forecast (B, H, T[, P]) and the rows after."""
        ...


class TorchStepper:
    """By torch."""

    name: Engine = "torch"

    def __init__(self, step: Step) -> None:
        self.step = step.eval()

    @torch.inference_mode()
    def __call__(
        self, values: Floats, seen: NDArray[np.bool_], clock: Floats, rows: Sequence[NDArray[Any]]
    ) -> tuple[Floats, Rows]:
        made, *after = self.step(*(torch.from_numpy(part) for part in (values, seen, clock, *rows)))
        return made.numpy(), tuple(part.numpy() for part in after)


class OnnxStepper:
    """By ONNX Runtime, from the bytes of a model (inference/graph.py): PIECE series at a time, some pieces at once.

    One thread for each piece, which stays in its cache, was faster than threads within an operation (10,000 series on
    two cores: 31 ms and 62 ms), and where others work too it does not wait for them. The pieces, and so every bit of
    the numbers, are the same for any count of threads.
    """

    name: Engine = "onnx"

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [each.name for each in self.session.get_inputs()]
        self.pool = ThreadPoolExecutor(torch.get_num_threads(), "step")

    def __call__(
        self, values: Floats, seen: NDArray[np.bool_], clock: Floats, rows: Sequence[NDArray[Any]]
    ) -> tuple[Floats, Rows]:
        whole = values, seen, clock, *rows
        if len(values) <= PIECE:
            made, *after = self._run(whole)
            return made, tuple(after)
        cuts = [slice(first, first + PIECE) for first in range(0, len(values), PIECE)]
        found = self.pool.map(lambda cut: self._run(tuple(part[cut] for part in whole)), cuts)
        made, *after = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return made, tuple(after)

    def _run(self, parts: tuple[NDArray[Any], ...]) -> list[NDArray[Any]]:
        return self.session.run(None, dict(zip(self.inputs, parts, strict=True)))


def stepper(step: Step, engine: Engine = "auto") -> Stepper:
    """`auto`: ONNX Runtime where the step can be exported, else torch; the log says which and why."""
    if engine == "torch":
        return TorchStepper(step)
    try:
        found = OnnxStepper(model(step))
    except Exception as error:
        if engine == "onnx":
            raise
        log.info("steps by torch: %s", str(error).split("\n")[0])
        return TorchStepper(step)
    log.info("steps by ONNX Runtime")
    return found


def model(step: Step) -> bytes:
    """The ONNX model of a step, from the cache or into it."""
    from forecast.inference.graph import to_onnx

    path = cache() / f"{digest(step)}.onnx"
    try:
        return path.read_bytes()
    except OSError:
        made = to_onnx(step)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_bytes(made)
    except OSError as error:
        log.info("the step is not kept: %s", error)
    return made


def cache() -> Path:
    """$FORECAST_CACHE, or `forecast` in the user's cache folder."""
    if own := os.environ.get("FORECAST_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "forecast" / "steps"


def digest(step: Step) -> str:
    """Of all that the graph of a step is made of: weights, settings, code and versions."""
    found = hashlib.sha256(f"{__version__} {torch.__version__} {step.spec} {step.shapes}".encode())
    for name, module in step.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, PLAIN)}
        found.update(f"{name} {type(module).__name__} {sorted(plain.items())}".encode())
    for name, tensor in [*step.named_parameters(), *step.named_buffers()]:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for folder in ("ops", "models", "heads", "inference/graph.py"):
        place = PACKAGE / folder
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(path.read_bytes())
    return found.hexdigest()
