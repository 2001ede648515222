"""Naive forecasts of a window: the rows every table has, and the starting point a head may correct.

past (B, L, C), mask (B, L, C) True where observed or None -> (B, H, C). A gap is bridged by the last seen value of
that phase, then by the last seen value at all, then by 0 (the training mean of scaled values).
"""

import torch
from torch import Tensor


def last_value(past: Tensor, mask: Tensor | None, horizon: int) -> Tensor:
    """The last observed value of each channel, for every step of the horizon."""
    return _last_seen(past, mask).expand(-1, horizon, -1)


def seasonal_naive(past: Tensor, mask: Tensor | None, horizon: int, season: int) -> Tensor:
    """The value one season before; further seasons ahead repeat it. A window shorter than a season knows no phase: the
    last value is all it has."""
    b, length, c = past.shape
    if season > length:
        return last_value(past, mask, horizon)
    season = max(1, season)
    cycles = length // season
    cut = past[:, length - cycles * season :].reshape(b, cycles, season, c)
    best = cut[:, -1]  # (B, season, C)
    if mask is not None:
        seen = mask[:, length - cycles * season :].reshape(b, cycles, season, c)
        best = _last_seen(past, mask).expand(-1, season, -1)
        for i in range(cycles):  # oldest to newest: the newest observation of a phase wins
            best = torch.where(seen[:, i], cut[:, i], best)
    repeats = -(-horizon // season)
    return best.repeat(1, repeats, 1)[:, :horizon]


def _last_seen(past: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return past[:, -1:]
    steps = torch.arange(1, past.shape[1] + 1, device=past.device)[:, None]
    newest = (mask * steps).amax(1, keepdim=True)  # (B, 1, C), 0 where nothing was seen
    value = past.gather(1, (newest - 1).clamp(min=0))
    return torch.where(newest > 0, value, torch.zeros_like(value))
