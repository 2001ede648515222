"""What stands in where a series cannot be forecast: the seasonal naive of its own last season, without an interval."""

from typing import NamedTuple

import numpy as np
import torch

from forecast.data.freq import Ints, Stamps
from forecast.data.recipe import Recipe
from forecast.data.table import Floats, grid, steps_after
from forecast.inference.screens import History
from forecast.ops.naive import last_value, seasonal_naive

NEVER = frozenset(("no_id", "parse_error", "bad_freq", "no_value", "invalid"))  # reasons for which there is none


class Naive(NamedTuple):
    """The H steps after the end of K series."""

    series: Ints  # (K,)
    cutoff: Stamps  # (K,) UTC
    time: Stamps  # (K, H) UTC
    values: Floats  # (K, H, T)


def naive(past: History, series: Ints, recipe: Recipe) -> Naive:
    """Of the series of these rising numbers, as `naive_rows` makes it of the model's context, or of a season where that
    is longer: a missing value is bridged by the last one of its phase, then by the last one. Stamps with different
    values hold none. A series without a value of each target has none, and is left out."""
    spec, time = recipe.spec, recipe.card.time
    some = past.take(series)
    whole = ~np.isnan(some.values[:, : spec.targets])
    count = np.diff(some.start)
    last = np.maximum.reduceat(np.where(whole.any(axis=1), np.arange(len(whole)), -1), some.start[:-1])
    some = some.kept(np.arange(len(whole)) <= np.repeat(last, count))
    length = max(spec.context, spec.season)
    at = grid(some.time, some.start, time.freq, time.zone).position
    end = at[some.start[1:] - 1]
    place = at - np.repeat(end, np.diff(some.start)) + length - 1
    inside, number = place >= 0, some.number
    window = np.full((len(series), length, spec.targets), np.nan)
    twice = np.zeros(len(number), np.bool_)
    twice[1:] = (number[1:] == number[:-1]) & (some.time[1:] == some.time[:-1])
    values = np.where((twice | np.append(twice[1:], False))[:, None], np.nan, some.values[:, : spec.targets])
    window[number[inside], place[inside]] = values[inside]
    past_of, mask = torch.from_numpy(np.nan_to_num(window)), torch.from_numpy(~np.isnan(window))
    made = (
        seasonal_naive(past_of, mask, spec.horizon, spec.season)
        if spec.season > 1
        else last_value(past_of, mask, spec.horizon)
    ).numpy()
    known = mask.any(1).all(1).numpy()
    cutoff = some.time[some.start[1:] - 1]
    ahead = np.tile(np.arange(1, spec.horizon + 1), len(series))
    later = steps_after(np.repeat(cutoff, spec.horizon), ahead, time.freq, time.zone).reshape(-1, spec.horizon)
    return Naive(series[known], cutoff[known], later[known], made[known])
