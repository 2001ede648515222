"""A training step of the reference Informer beside its floor: its own matrix products, each timed alone.

The products are those that the step really makes, recorded with shape, stride and type while it runs: matrix products,
convolutions, the two products of an attention forward and four backward, and the scores that ProbSparse attention
samples from. Whatever else a step does (activations,
norms, dropout, softmax, the optimiser, Python) is what the ratio is above 1.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import Row, record, seconds
from forecast import build, config
from forecast.heads import Chain
from forecast.models.attention import set_step
from forecast.types import SeriesBatch, Spec
from forecast.where import CONF

SETTINGS = {  # context, label, horizon, rounds, repeats in a round
    "96/48 -> 24": (96, 48, 24, 3, 12),
    "720/336 -> 720": (720, 336, 720, 1, 1),
}
BATCH, CHANNELS = 32, 7
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
Made = tuple[Any, tuple[Any, ...]]  # a function and what it was called with, tensors as (shape, stride, dtype)


class Recorder(TorchDispatchMode):
    """Counts the matrix products of what runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[Made] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            self.made[func, tuple(map(_shape, args))] += 1
        elif "dot_product" in name:
            q, k, v = args[1:4] if name.endswith("backward") else args[:3]
            self._attention(q.shape, k.shape[2], q.dtype, backward=name.endswith("backward"))
        elif name == "sparsity":
            (b, h, l_q, e), l_k = args[0].shape, args[1].shape[2]
            self._product((b * h, l_q, e), (b * h, e, l_k), args[0].dtype)
        elif name.startswith("chosen_attention"):
            q, k, _, index = args[1:5] if name.endswith("backward") else args[:4]
            chosen = (*index.shape, q.shape[3])
            self._attention(chosen, k.shape[2], torch.float32, backward=name.endswith("backward"))
        return func(*args, **(kwargs or {}))

    def _attention(self, q: tuple[int, ...], l_k: int, of: torch.dtype, *, backward: bool) -> None:
        b, (l_q, e) = math.prod(q[:2]), q[2:]
        forward = [((b, l_q, e), (b, e, l_k)), ((b, l_q, l_k), (b, l_k, e))]
        back = [((b, l_k, l_q), (b, l_q, e)), ((b, l_q, e), (b, e, l_k)), ((b, l_q, l_k), (b, l_k, e))]
        for left, right in [*back, back[0]] if backward else forward:
            self._product(left, right, of)

    def _product(self, left: tuple[int, ...], right: tuple[int, ...], of: torch.dtype) -> None:
        made = tuple(("tensor", shape, torch.empty(shape, device="meta").stride(), of) for shape in (left, right))
        self.made[torch.ops.aten.bmm.default, made] += 1


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ("tensor", tuple(value.shape), value.stride(), value.dtype)
    return tuple(value) if isinstance(value, list) else value


def _again(value: Any) -> Any:
    if isinstance(value, tuple) and value and value[0] == "tensor":
        _, shape, stride, of = value
        return (
            torch.randn(sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1)
            .to(of)
            .as_strided(shape, stride)
        )
    return list(value) if isinstance(value, tuple) else value


def floor(made: Counter[Made], repeats: int) -> float:
    """Seconds of all products, each timed alone."""
    total = 0.0
    for (func, given), count in made.items():
        args = [_again(value) for value in given]
        total += count * seconds(lambda func=func, args=args: func(*args), repeats)
    return total


def problem(context: int, label: int, horizon: int, precision: str) -> tuple[Callable[[], None], Chain]:
    """One training step of the paper's script setting, as the task and Lightning make it, on random values."""
    import hydra

    config.register()
    words = [f"task.context={context}", f"task.horizon={horizon}", f"head.label={label}", "model.factor=5"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        words += ["experiment=informer_etth1_24", f"trainer.precision={precision}"]
        plain = config.plain(hydra.compose("train", words))
    fields = ("yearday", "day", "weekday", "hour")
    spec = Spec(tuple("abcdefg"), CHANNELS, ("",) * CHANNELS, fields, context, horizon, "h", 24)
    torch.manual_seed(1)
    chain = build.chain(plain, spec, masked=False)
    optimiser = build.optimiser(plain)(chain.parameters())

    def ones(length: int) -> Tensor:
        return torch.ones(BATCH, length, CHANNELS, dtype=torch.bool)

    batch = SeriesBatch(
        torch.randn(BATCH, context, CHANNELS), ones(context), torch.zeros(BATCH, context, len(fields)),
        torch.randn(BATCH, horizon, CHANNELS), ones(horizon), torch.zeros(BATCH, horizon, len(fields)),
        torch.zeros(BATCH, dtype=torch.int64), torch.zeros(BATCH, dtype=torch.int64),
    )  # fmt: skip
    count = iter(range(1 << 30))

    def step() -> None:
        set_step(chain, next(count))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = F.mse_loss(chain(batch), batch.future)
        if not torch.isfinite(loss):
            raise ArithmeticError("the loss is not finite")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step, chain


def measure(name: str) -> list[Row]:
    context, label, horizon, rounds, repeats = SETTINGS[name]
    steps = {}
    for precision in ("32-true", "bf16-mixed"):
        step, _ = problem(context, label, horizon, precision)
        step()
        with Recorder() as recorder:
            step()
        steps[precision] = (step, recorder.made)
    found: dict[str, list[tuple[float, float]]] = {precision: [] for precision in steps}
    for _ in range(rounds):  # in turn, so that a machine that slows down slows all of them
        for precision, (step, made) in steps.items():
            found[precision].append((seconds(step, repeats), floor(made, max(1, repeats // 3))))
    plain = [took for took, _ in found["32-true"]]
    return [
        {
            "precision": precision,
            "step s": statistics.median(took for took, _ in times),
            "floor s": statistics.median(bound for _, bound in times),
            "step ÷ floor": statistics.median(took / bound for took, bound in times),
            "step ÷ fp32 step": statistics.median(took / one for (took, _), one in zip(times, plain, strict=True)),
        }
        for precision, times in found.items()
    ]  # fmt: skip


def main() -> None:
    for name in SETTINGS:
        record("step", measure(name), part=name)
