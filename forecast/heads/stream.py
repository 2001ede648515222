"""The whole chain as a fold: norm ∘ embed ∘ encoder ∘ head, one state for all of it, from raw value to forecast.

Any split of the steps gives the same forecasts and the same final state; from the start of a window it gives the
window's own forecast. A stream is one scan from its origin: a sliding window, as in training, is another model, and the
difference between the two is a number to measure.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.errors import UsageError
from forecast.heads.chain import Chain
from forecast.heads.direct import Direct
from forecast.models.base import State, StreamingEncoder, leaves, rebuilt
from forecast.models.normalise import InstanceNorm, RollingNorm, Statistics
from forecast.types import Context

AT_ONCE = 1 << 21  # numbers that the head reads, or puts out, at once when it forecasts after each of many steps


class Streamed(NamedTuple):
    """What one series leaves to its next step; every tensor has a leading axis of series."""

    norm: State
    embed: State
    encoder: State
    last: Tensor  # (B, n, D) the last tokens of the memory, 0 where there were fewer
    mean: Tensor  # (B, 1, C) of the statistics that undo a forecast, 0 and 1 where there are none
    std: Tensor


class Stream(nn.Module):
    """A trained chain, streamed. UsageError says what to set where the chain cannot."""

    def __init__(self, chain: Chain, channels: int) -> None:
        super().__init__()
        if refused := refusal(chain):
            raise UsageError(f"this model cannot stream: {refused[0]}", do=refused[1])
        self.chain, self.channels = chain, channels

    def start(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Streamed:
        """The state of `batch` series before their first step."""
        chain, kind = self.chain, {"device": device, "dtype": dtype}
        encoder, head = chain.encoder, chain.head
        assert isinstance(encoder, StreamingEncoder) and isinstance(head, Direct)
        blank = torch.zeros(batch, 1, self.channels, **kind)  # type: ignore[arg-type]
        return Streamed(
            chain.norm.start(batch, self.channels, device=device, dtype=dtype),
            chain.embed.start(batch, device=device, dtype=dtype),
            encoder.start(batch, device=device, dtype=dtype),
            torch.zeros(batch, head.tokens, encoder.d_model, **kind),  # type: ignore[arg-type]
            blank, torch.ones_like(blank),
        )  # fmt: skip

    def scan(self, state: Streamed, past: Tensor, mask: Tensor | None, clock: Tensor) -> Streamed:
        """past (B, l, C), mask (B, l, C), clock (B, l, F) -> the state after; any l."""
        return self._along(state, past, mask, clock)[0]

    def forecast(self, state: Streamed, future_clock: Tensor) -> Tensor:
        """The forecast (B, H, T) after the last step that was seen."""
        return self.chain.output.point(self.made(state, future_clock))

    def made(self, state: Streamed, future_clock: Tensor) -> Tensor:
        """All the numbers of that forecast, as the chain gives them."""
        return self._read(state.last, Statistics(state.mean, state.std), future_clock)

    def forecasts(self, state: Streamed, past: Tensor, mask: Tensor | None, clock: Tensor) -> tuple[Streamed, Tensor]:
        """past and mask (B, l, C), clock (B, l + H, F) -> the state after, and the forecast after each of the l steps,
        (B, l, H, T): what scan over one step and forecast give, in turn. Memory is bounded but for what comes out."""
        head = self.chain.head
        assert isinstance(head, Direct)
        horizon, targets = head.shape
        widest = max(state.last[0].numel(), horizon * targets, horizon * clock.shape[2])
        at_once = max(1, AT_ONCE // max(1, len(past) * widest))
        out = [past.new_zeros(past.shape[0], 0, horizon, targets)]
        for first in range(0, past.shape[1], at_once):
            until = min(first + at_once, past.shape[1])
            now, before = slice(first, until), state.last
            seen = None if mask is None else mask[:, now]
            state, memory, each = self._along(state, past[:, now], seen, clock[:, now])
            rings = torch.cat([before, memory], 1).unfold(1, before.shape[1], 1)[:, 1:].transpose(2, 3)  # (B, l, n, D)
            ahead = clock[:, first + 1 : until + horizon].unfold(1, horizon, 1).transpose(2, 3)  # (B, l, H, F)
            flat = Statistics(*(part.flatten(0, 1)[:, None] for part in each))
            made = self._read(rings.flatten(0, 1), flat, ahead.flatten(0, 1))
            out.append(self.chain.output.point(made).unflatten(0, memory.shape[:2]))
        return state, torch.cat(out, 1)

    def _along(
        self, state: Streamed, past: Tensor, mask: Tensor | None, clock: Tensor
    ) -> tuple[Streamed, Tensor, Statistics]:
        """The state after l steps, the memory (B, l, D) and the statistics (B, l, C) of each."""
        chain = self.chain
        assert isinstance(chain.encoder, StreamingEncoder)
        if mask is not None:
            past = past.masked_fill(~mask, 0.0)
        norm, normal, each = chain.norm.trace(state.norm, past, mask)
        embed, tokens = chain.embed.scan(state.embed, normal, mask, clock)
        steps = None if mask is None else chain.embed.token_mask(mask)
        one = past.shape[1] == 1
        encoder, memory = chain.encoder.scan(state.encoder, tokens, None if one else steps)
        if steps is not None:
            if one:  # a masked step leaves the state as it is, for any encoder, and needs no mask inside of it
                encoder = kept(steps[:, 0], encoder, state.encoder)
            memory = memory * steps[..., None]
        last = torch.cat([state.last, memory], 1)[:, -state.last.shape[1] :]
        mean, std = chain.norm.statistics(norm) or (state.mean, state.std)
        if each is None:
            each = Statistics(mean.expand_as(past), std.expand_as(past))
        return Streamed(norm, embed, encoder, last, mean, std), memory, each

    def _read(self, last: Tensor, statistics: Statistics, future_clock: Tensor) -> Tensor:
        """last (B, n, D), statistics (B, 1, C), future_clock (B, H, F) -> the forecast as the chain gives it."""
        past = last.new_zeros(last.shape[0], 1, self.channels)
        context = Context(past, None, future_clock[:, :1], future_clock, None)
        return self.chain.output(self.chain.head(last, context), statistics)


def kept(seen: Tensor, new: State, old: State) -> State:
    """Rows of the state `new` where seen (B,), of `old` elsewhere."""
    parts = zip(leaves(new), leaves(old), strict=True)
    return rebuilt(old, iter([torch.where(seen.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in parts]))


def refusal(chain: Chain) -> tuple[str, str] | None:
    """Why a chain cannot stream, the first reason, and what to do about all of them; None where it can."""
    wrong = obstacles(chain)
    return (wrong[0][0], f"set {' '.join(do for _, do in wrong)}") if wrong else None


def obstacles(chain: Chain) -> list[tuple[str, str]]:
    """Why a chain cannot stream, and what to set instead; nothing where it can."""
    found = []
    if chain.covariates is not None or chain.effect is not None:
        found.append(("it reads covariates as they were known at each cutoff", "data.known=[] data.static=[]"))
    if isinstance(chain.norm, InstanceNorm) and not isinstance(chain.norm, RollingNorm):
        found.append(("it normalises a whole window", "norm=rolling"))
    if chain.embed.layout != "steps":
        found.append((f"its tokens are {chain.embed.layout}", "embed=value embed.causal=true"))
    elif not chain.embed.causal:
        found.append(("its embedding looks ahead", "embed.causal=true"))
    if not isinstance(chain.encoder, StreamingEncoder) or not chain.encoder.causal:
        name = type(chain.encoder).__name__
        found.append((f"{name} looks at a whole window, as aaren, lstm, tcnca and none do not", "model=aaren"))
    if not isinstance(chain.head, Direct):
        found.append((f"the head {type(chain.head).__name__} looks at a whole window", "head=direct"))
    elif chain.head.residual != "none":
        found.append(("its linear residual looks at a whole window", "head.residual=none"))
    return found
