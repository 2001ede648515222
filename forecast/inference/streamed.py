"""A trained chain scored as a stream: one state for each series, from its first row on, in place of a window for each
forecast. What it loses by that, its "stream minus window" error, belongs to the run: a model that is good over windows
may be bad in a stream, whose state is older than any it was trained on.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from forecast.data.batch import Gather
from forecast.data.module import SeriesModule
from forecast.data.table import stamp
from forecast.data.window import Windows
from forecast.heads import Chain
from forecast.heads.stream import Stream, refusal
from forecast.inference.scoring import units
from forecast.metrics import Errors
from forecast.models.base import bytes_per_series

SERIES = 256  # streams at once
ROWS = 1 << 13  # steps at once, of all of them together
NUMBERS = 1 << 22  # of forecasts at once


@torch.inference_mode()
def score_stream(
    data: SeriesModule, chain: Chain, name: str, windowed: Mapping[str, Any], *, part: str = "test"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row of scores over the windows of `part`, and the record of the stream; `windowed` is the row of the same
    model and part scored by windows.

    A chain that cannot stream has no row, and a record that says why and what to set: {refused, do}. The others have
    {mse, mae (scaled), ratio (to the windowed MSE), origin (stamp of the first step), steps (of the longest stream),
    bytes_per_series, seconds}.
    """
    if refused := refusal(chain):
        return [], {"refused": refused[0], "do": refused[1]}
    began, spec, windows = time.monotonic(), data.spec, data.windows(part)
    stream, start = Stream(chain, len(spec.channels)), torch.from_numpy(data.series.start[:-1])
    errors = Errors(spec.horizon, spec.channels[: spec.targets], spec.units[: spec.targets])
    mean, std, scale = units(data)
    for origin, at, forecast in forecasts(stream, data.gather, start, windows):
        future, mask = data.gather.future(origin), data.gather.future_mask(origin)
        errors.update(forecast, future, mask, mean=mean[at], std=std[at], scale=scale[at])
    row = {"name": f"{name}, streamed", "kind": "streamed", **errors.result()}
    mse, before = row["scaled"]["mse"], windowed["scaled"]["mse"]
    return [row], {
        "mse": mse, "mae": row["scaled"]["mae"], "ratio": mse / before if mse is not None and before else None,
        "origin": stamp(data.series.time[data.series.start[:-1]].min()), "steps": int((last(windows) - start).max()),
        "bytes_per_series": bytes_per_series(stream.start(1)), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def forecasts(
    stream: Stream, gather: Gather, start: Tensor, windows: Windows
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The forecast of every window, made by streams that begin at rows `start` (S,): origins (K,), numbers of their
    series (K,) and forecasts (K, H, T), some at a time. The streams go side by side, in blocks of steps; one that is
    over goes on over other rows, and what comes of that is left out.
    """
    first, final = torch.from_numpy(windows.first), last(windows)
    for some in torch.arange(len(start)).split(SERIES):
        state = stream.start(len(some))
        before, until = int((first - start)[some].min()) - 1, int((final - start)[some].max())
        wide = min(ROWS, NUMBERS // max(1, gather.horizon * gather.targets))
        block = max(1, wide // len(some))
        for a in range(0, before, block):
            state = stream.scan(state, *_read(stream, gather, start[some], a, min(a + block, before)))
        for a in range(before, until, block):
            b = min(a + block, until)
            state, made = stream.forecasts(state, *_read(stream, gather, start[some], a, b, gather.horizon))
            origin = start[some][:, None] + torch.arange(a + 1, b + 1)
            lead = origin - first[some][:, None]
            wanted = (lead >= 0) & (lead % windows.stride == 0) & (origin <= final[some][:, None])
            yield origin[wanted], some[:, None].expand_as(origin)[wanted], made[wanted]


def last(windows: Windows) -> Tensor:
    """(S,) the last origin of each series."""
    first, until = torch.from_numpy(windows.first), torch.from_numpy(windows.until)
    return first + (until.diff() - 1) * windows.stride


def _read(
    stream: Stream, gather: Gather, start: Tensor, a: int, b: int, ahead: int = 0
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Steps a … b - 1 after `start` (S,): values (S, l, C), 0 where nothing was observed, what was observed, and the
    clock (S, l + ahead, F), that of the steps to come behind it."""
    rows = (start[:, None] + torch.arange(a, b + ahead)).clamp(max=len(gather.values) - 1)
    past = gather.values[rows[:, : b - a]]
    return past.nan_to_num(0.0), ~past.isnan() if stream.chain.masked else None, gather.clock[rows]
