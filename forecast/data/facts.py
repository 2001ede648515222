"""What a table says of itself, to be held against its card: the step, the season, values that mean nothing."""

from typing import Final

import numpy as np
import polars as pl

from forecast.data.card import Card
from forecast.data.infer import real_step
from forecast.data.stamps import parse_numbers
from forecast.data.table import Floats, Series
from forecast.errors import DataError

ROWS: Final = 50_000  # the end of the longest series is looked at
CHANNELS: Final = 32


def step(card: Card, frame: pl.DataFrame) -> str | None:
    """The step between the stamps of a table; None when it has too few to see one."""
    try:
        return real_step(frame, card.time.column, card.id, card.time.zone, card.name).alias
    except DataError:
        return None


def sentinels(card: Card, frame: pl.DataFrame) -> int:
    """How many values of the channels are numbers that the card calls missing."""
    if not card.missing:
        return 0
    columns = (frame[c.source] for c in card.named(frame.columns).channels)
    return sum(int(np.isin(parse_numbers(column, (), card.name), card.missing).sum()) for column in columns)


def constant(series: Series) -> list[str]:
    """Channels that have one value in every row where they have one."""
    low, high = np.nanmin(series.values, axis=0), np.nanmax(series.values, axis=0)
    return [name for name, a, b in zip(series.channels, low, high, strict=True) if a == b]


def peaks(series: Series) -> tuple[Floats, list[int]]:
    """The mean autocorrelation of the targets by lag, and the lags of its peaks, the highest first.

    Lags go to a little more than seven seasons, a day of which makes a week, and to a third of the rows at most.
    """
    longest = int(np.argmax(series.rows))
    rows = slice(max(series.start[longest], series.start[longest + 1] - ROWS), series.start[longest + 1])
    pick = np.unique(np.linspace(0, series.targets - 1, min(CHANNELS, series.targets)).astype(np.int64))
    values = series.values[rows][:, pick]
    most = min(max(8 * series.season, 400), len(values) // 3)
    curves = [_autocorrelation(column, most) for column in values.T if _varies(column)]
    if most < 3 or not curves:
        return np.empty(0), []
    curve = np.mean(curves, axis=0)
    rises, falls = curve[2:-1] > curve[1:-2], curve[2:-1] >= curve[3:]
    found = np.flatnonzero(rises & falls) + 2
    return curve, found[np.argsort(-curve[found], kind="stable")].tolist()


def _varies(values: Floats) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and bool(known.min() < known.max())


def _autocorrelation(values: Floats, most: int) -> Floats:
    """(most + 1,) of one channel; what is missing is drawn as a straight line."""
    known = ~np.isnan(values)
    rows = np.arange(len(values))
    filled = np.interp(rows, rows[known], values[known])
    size = 1 << (2 * len(values) - 1).bit_length()
    power = np.abs(np.fft.rfft(filled - filled.mean(), size)) ** 2
    curve = np.fft.irfft(power, size)[: most + 1]
    return np.asarray(curve / curve[0])
