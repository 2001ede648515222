"""Labels, indices and horizons of pandas and sktime as JSON, and back: nothing of an estimator is pickled."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
from sktime.forecasting.base import ForecastingHorizon

from forecast.errors import ArtifactError, UsageError


def plain(value: Any) -> Any:
    """A value as JSON; UsageError for one that has no such form."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return value.item()
    if isinstance(value, pd.Timestamp | datetime.date | np.datetime64):
        stamp = pd.Timestamp(value)
        return {"stamp": stamp.isoformat(), "zone": None if stamp.tz is None else str(stamp.tz)}
    if isinstance(value, pd.Period):
        return {"period": str(value), "freq": value.freqstr}
    if isinstance(value, tuple):
        return {"tuple": [plain(each) for each in value]}
    if isinstance(value, pd.Index):
        frequency = getattr(value, "freqstr", None) if not isinstance(value, pd.PeriodIndex) else None
        return {"index": [plain(each) for each in value], "name": plain(value.name), "freq": frequency,
                "range": isinstance(value, pd.RangeIndex)}  # fmt: skip
    if isinstance(value, ForecastingHorizon):
        return {"horizon": plain(value.to_pandas()), "relative": value.is_relative, "freq": value.freq}
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return {"array": [plain(each) for each in value.tolist()], "dtype": str(value.dtype)}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: plain(each) for key, each in value.items()}}
    raise UsageError(
        f"a value of {type(value).__name__} cannot be saved", "expected numbers, words, lists or labels of an index",
        "give random_state as a number, or pickle the estimator yourself",
    )  # fmt: skip


def restored(held: Any) -> Any:
    """The inverse of `plain`; ArtifactError for what it never wrote."""
    if isinstance(held, list):
        return [restored(each) for each in held]
    if not isinstance(held, dict):
        return held
    try:
        if "stamp" in held:
            stamp = pd.Timestamp(held["stamp"])
            return stamp if held["zone"] is None else stamp.tz_convert(held["zone"])
        if "period" in held:
            return pd.Period(held["period"], freq=held["freq"])
        if "tuple" in held:
            return tuple(restored(each) for each in held["tuple"])
        if "array" in held:
            return np.array([restored(each) for each in held["array"]], dtype=held["dtype"])
        if "index" in held:
            return _index(held)
        if "horizon" in held:
            return ForecastingHorizon(restored(held["horizon"]), held["relative"], held["freq"])
        return {key: restored(each) for key, each in held["dict"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the saved estimator is damaged: {error}", do="save it again") from error


def _index(held: dict[str, Any]) -> pd.Index:
    values, name = [restored(each) for each in held["index"]], restored(held["name"])
    if held["range"]:
        step = values[1] - values[0] if len(values) > 1 else 1
        return pd.RangeIndex(values[0], values[-1] + step, step, name=name) if values else pd.RangeIndex(0, name=name)
    if values and isinstance(values[0], pd.Timestamp):
        return pd.DatetimeIndex(values, freq=held["freq"], name=name)
    if values and isinstance(values[0], tuple):
        return pd.MultiIndex.from_tuples(values, names=name)
    return pd.Index(values, name=name)
