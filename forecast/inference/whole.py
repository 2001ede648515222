"""The forecast of a whole window as a graph of tensors: a context goes in, the point and quantiles of its horizon come
out. For every model, those that look at a window at once among them; a model that streams has a step as well.

Shapes: B windows, L context steps, H horizon steps, C channels, T targets, F calendar fields, N levels, K covariates
known ahead, P seen in the past only, Q facts of a series (K and P twice as wide where a mask stands behind them).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from forecast.heads import Chain, Normal, Quantiles
from forecast.heads.label_chain import LabelChain
from forecast.inference.calibration import Calibration, scores_at
from forecast.types import SeriesBatch, Spec

LEVELS: Final = (0.05, 0.95)  # of the quantiles unless others are asked for


class Whole(nn.Module):
    """(past, seen, past_clock, future_clock, …) -> (point, quantiles), in scaled units and not clipped.

    `inputs` and `outputs` are the names, in order. place (B, H) is that of each step to come in the season, there where
    the run was calibrated. An output that counts, or has no quantiles of its own, gives its numbers as `forecast`.
    """

    def __init__(
        self, chain: Chain, spec: Spec, calibration: Calibration | None = None, levels: Sequence[float] = LEVELS
    ) -> None:
        super().__init__()
        self.chain, self.spec = chain, spec
        output, levels = chain.output, tuple(levels)
        own = calibration is None and type(output) in (Quantiles, Normal)
        self.levels = levels if levels and not output.counts and (own or calibration is not None) else ()
        self.scores: Tensor | None
        self.size: Tensor | None
        self.normal: Tensor | None
        scores = size = None
        if self.levels:
            at = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64)).float()
            scores = at if calibration is None else scores_at(calibration.table, at)
            size = None if calibration is None else calibration.scale
        self.register_buffer("scores", scores, persistent=False)  # (N,) or (H, T, N)
        self.register_buffer("size", size, persistent=False)  # (places, T)
        normal = torch.special.ndtri(output.levels) if isinstance(output, Quantiles) else None
        self.register_buffer("normal", normal, persistent=False)
        self.inputs = tuple(name for name, _ in self._shapes())
        bare = output.width > 1 and not self.levels
        self.outputs = ("point", *(["quantiles"] if self.levels else []), *(["forecast"] if bare else []))

    def _shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Of each input, without its first axis."""
        spec, twice = self.spec, 1 + self.spec.masks
        both, fields = len(spec.known) + len(spec.behind), len(spec.clock)
        found: list[tuple[str, tuple[int, ...]]] = [
            ("past", (spec.context, len(spec.channels))), ("seen", (spec.context, len(spec.channels))),
            ("past_clock", (spec.context, fields)), ("future_clock", (spec.horizon, fields)),
        ]  # fmt: skip
        found += [("place", (spec.horizon,))] if self.size is not None else []
        found += [("known_past", (spec.context, both * twice))] if both else []
        found += [("known_future", (spec.horizon, len(spec.known) * twice))] if spec.known else []
        return found + ([("static", (len(spec.static),))] if spec.static else [])

    def example(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and dtypes."""
        kinds = {"seen": torch.bool, "place": torch.int64}
        return tuple(
            torch.full((batch, *shape), name == "seen", dtype=kinds.get(name, torch.float32))
            for name, shape in self._shapes()
        )

    def of(self, batch: SeriesBatch, place: Tensor) -> tuple[Tensor, ...]:
        """The inputs of windows whose horizons lie at places (B, H) of the season."""
        found = {
            "past": batch.past, "seen": batch.past_mask, "past_clock": batch.past_clock,
            "future_clock": batch.future_clock, "place": place, "known_past": batch.known_past,
            "known_future": batch.known_future, "static": batch.static,
        }  # fmt: skip
        parts = [found[name] for name in self.inputs]
        return tuple(part.contiguous() for part in parts if part is not None)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """point (B, H, T), then quantiles (B, H, T, N) or forecast (B, H, T, numbers) where there are some."""
        given = dict(zip(self.inputs, inputs, strict=True))
        past = given["past"]
        nothing = past[:, :0, 0]
        made = self.chain(
            SeriesBatch(
                past, given["seen"], given["past_clock"], past[:, :0], given["seen"][:, :0], given["future_clock"],
                nothing, nothing, given.get("known_past"), given.get("known_future"), given.get("static"),
            )
        )  # fmt: skip
        found = [self.chain.output.point(made)]
        if self.scores is not None:
            scores = self.scores if self.size is None else self.scores * self.size[given["place"]][..., None]
            found.append(self._value(made, scores))
        elif len(self.outputs) > 1:
            found.append(made)
        return tuple(found)

    def _value(self, made: Tensor, scores: Tensor) -> Tensor:
        """`Output.value`; of quantiles without a search, which runtimes lack."""
        if self.normal is None:
            return self.chain.output.value(made, scores)
        x = self.normal
        at = scores.expand(*made.shape[:-1], scores.shape[-1])
        right = (at[..., None] > x).sum(-1).clamp(1, len(x) - 1)
        x0, x1 = x[right - 1], x[right]
        y0, y1 = made.gather(-1, right - 1), made.gather(-1, right)
        return y0 + (at - x0) * (y1 - y0) / (x1 - x0)


class WholeClass(nn.Module):
    """(values, seen, length) -> the probabilities (B, K) of the classes. values (B, L, C) scaled, L the length of the
    longest series of training, 0 behind the last step and where nothing was measured; length (B,) steps of each."""

    inputs = ("values", "seen", "length")
    outputs = ("probabilities",)

    def __init__(self, chain: LabelChain, temperature: float) -> None:
        super().__init__()
        self.chain, self.spec, self.temperature = chain, chain.spec, temperature

    def example(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and dtypes."""
        shape = batch, self.spec.longest, len(self.spec.channels)
        return torch.zeros(shape), torch.ones(shape, dtype=torch.bool), torch.full((batch,), self.spec.longest)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        values, seen, length = inputs
        steps = torch.arange(values.shape[1], device=values.device) < length[:, None]
        return ((self.chain.padded(values, seen, steps) / self.temperature).softmax(-1),)
