"""Small problems for tests of models, heads and tasks: a spec and random windows of it."""

import torch

from forecast.types import CLOCK_SIZES, SeriesBatch, Spec

PLAIN = ("month", "yearday", "day", "weekday", "hour")
FIELDS = (*PLAIN, "holiday", "holiday_in", "holiday_ago")


def spec(
    channels: int = 3, *, targets: int | None = None, context: int = 24, horizon: int = 8, season: int = 6
) -> Spec:
    names = tuple(f"c{i}" for i in range(channels))
    units = ("",) * channels
    return Spec(names, channels if targets is None else targets, units, FIELDS, context, horizon, "h", season)


def batch(
    s: Spec, b: int = 4, *, seed: int = 0, dtype: torch.dtype = torch.float64, missing: float = 0.0
) -> SeriesBatch:
    """Random windows; a share of the values missing, with 0 in their place as the data floor leaves them."""
    g = torch.Generator().manual_seed(seed)
    c, span = len(s.channels), s.context + s.horizon
    values = torch.randn(b, span, c, generator=g, dtype=dtype)
    sizes = torch.tensor([CLOCK_SIZES[f] for f in s.clock])
    clock = (torch.rand(b, span, len(s.clock), generator=g) * sizes).floor().to(dtype)
    seen = torch.rand(b, span, c, generator=g) >= missing
    values, at, n = values * seen, s.context, torch.arange(b)
    return SeriesBatch(
        values[:, :at], seen[:, :at], clock[:, :at], values[:, at:, : s.targets], seen[:, at:, : s.targets],
        clock[:, at:], n, n * 0,
    )  # fmt: skip


def rows(x: SeriesBatch, index: torch.Tensor) -> SeriesBatch:
    """Some windows of a batch."""
    return SeriesBatch(*(t if t is None else t[index] for t in x))
