"""Fits of one series by others' libraries, as they run in a process of their own: numpy in, numpy out, no torch.

A fit that fails, or forecasts what is no number, gives NaN and its reason; the caller counts it. Libraries are
imported where they are used: starting the program costs nothing of them.

ETS: Hyndman et al. 2008, the forms with additive error, chosen by AICc; fitted by statsmodels. With ŷ = l + φb + s
and e = y − ŷ: l ← l + φb + αe     b ← φb + βe     s ← s + γe (of its phase)
"""

import importlib
import signal
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
FORMS = tuple((trend, damped, seasonal) for seasonal in (False, True)
              for trend, damped in ((False, False), (True, False), (True, True)))  # fmt: skip
FEWEST = 10  # values; statsmodels' heuristic for the first state needs as many


class Form(NamedTuple):
    """A fitted ETS model; what a form lacks is zero (φ: one). The states are those before the first value."""

    alpha: float
    beta: float
    gamma: float
    phi: float
    level: float
    slope: float
    season: Values  # (m,) phase 0 is that of the first value


class Made(NamedTuple):
    forecasts: Values  # (K, H), NaN where the fit failed
    reason: str  # of the first failure


def start() -> None:
    """A worker leaves Ctrl-C to the process that began it, and its warnings to nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")


def by_sktime(module: str, name: str, kept: Mapping[str, Any], season: int, horizon: int, pieces: Sequence[Values],
              ) -> Made:  # fmt: skip
    """Fit a forecaster anew to each piece, original units, and forecast the steps after it.

    `season` > 1 is given as `sp` where a piece holds two of them: what sktime's decomposition needs.
    """
    import pandas as pd

    kind = getattr(importlib.import_module(module), name)

    def one(values: Values) -> Values:
        sp = {"sp": season if len(values) >= 2 * season else 1} if season > 1 else {}
        made = kind(**kept, **sp).fit(pd.Series(values), fh=list(range(1, horizon + 1))).predict()
        return np.asarray(made, dtype=np.float64).reshape(-1)

    return _each(one, horizon, pieces)


def by_ets(season: int, horizon: int, pieces: Sequence[Values]) -> Made:
    """Choose and fit an ETS form anew for each piece."""

    def one(values: Values) -> Values:
        form = ets(values, season)
        level, slope, seasons = states([form], values[None])
        return ahead([form], level[:, -1], slope[:, -1], seasons[:, len(values) :], horizon)[0]

    return _each(one, horizon, pieces)


def ets_forms(season: int, pieces: Sequence[Values]) -> tuple[list[Form | None], str]:
    """The form of each piece, None where none could be fitted, and the first reason."""
    found: list[Form | None] = []
    reason = ""
    for values in pieces:
        try:
            found.append(ets(values, season))
        except Exception as error:  # of a library: any
            found.append(None)
            reason = reason or _said(error)
    return found, reason


def _each(one: Any, horizon: int, pieces: Sequence[Values]) -> Made:
    out, reason = np.full((len(pieces), horizon), np.nan), ""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for k, values in enumerate(pieces):
            try:
                made = one(values)
                if made.shape != (horizon,) or not np.isfinite(made).all():
                    raise ValueError("it forecast what is no number")
                out[k] = made
            except Exception as error:  # of a library: any
                reason = reason or _said(error)
    return Made(out, reason)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}…"


def ets(values: Values, season: int) -> Form:
    """The form with the least AICc; ValueError where none can be fitted. Seasonal forms need two seasons."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    n = len(values)
    if n < FEWEST:
        raise ValueError(f"{n} values before the forecast, {FEWEST} are needed")
    if np.ptp(values) == 0:  # the likelihood of a constant has no maximum
        return Form(1.0, 0.0, 0.0, 1.0, float(values[-1]), 0.0, np.zeros(1))
    mean, size = values.mean(), values.std()
    best: tuple[float, Any] = (np.inf, None)
    reason = "no form has fewer parameters than there are values"
    for trend, damped, seasonal in FORMS:
        # Parameters: α, β, φ, γ, the variance and the first states, which the heuristic takes from the values too.
        k = 2 + 2 * trend + damped + (season if seasonal else 0) + 1
        if (seasonal and (season < 2 or n < 2 * season)) or n - k - 1 <= 0:
            continue
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                fitted = ETSModel((values - mean) / size, error="add", trend="add" if trend else None,
                                  damped_trend=damped, seasonal="add" if seasonal else None,
                                  seasonal_periods=season if seasonal else None,
                                  initialization_method="heuristic").fit(disp=False, maxiter=100)  # fmt: skip
                aicc = n * np.log(max(float(fitted.sse), 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        except Exception as error:  # of a library: any
            reason = _said(error)
            continue
        if aicc < best[0]:
            best = (aicc, fitted)
    if best[1] is None:
        raise ValueError(reason)
    return _form(best[1], float(mean), float(size))


def _form(fitted: Any, mean: float, size: float) -> Form:
    """In the units of the values. statsmodels keeps the first seasonal states in order of time."""
    initial = fitted.model.seasonal_periods if fitted.model.has_seasonal else 0
    slope = float(fitted.initial_trend) if fitted.model.has_trend else 0.0
    season = np.asarray(fitted.initial_seasonal, dtype=np.float64)[:initial] if initial else np.zeros(1)
    return Form(
        float(fitted.smoothing_level), float(fitted.smoothing_trend) if fitted.model.has_trend else 0.0,
        float(fitted.smoothing_seasonal) if initial else 0.0,
        float(fitted.damping_trend) if fitted.model.damped_trend else 1.0,
        float(fitted.initial_level) * size + mean, slope * size, season * size,
    )  # fmt: skip


def states(forms: Sequence[Form], values: Values) -> tuple[Values, Values, Values]:
    """Run R models over values (R, n): level (R, n) and slope (R, n) after each value, and seasonal states (R, m + n),
    of which column m + t is that after value t and the first m are those before. NaN: nothing was seen, the states go
    on as forecast."""
    alpha, beta, gamma, phi, now, drift = (np.array([form[i] for form in forms], dtype=np.float64) for i in range(6))
    r, n = values.shape
    m = int(np.lcm.reduce([len(form.season) for form in forms]))
    level, slope, season = np.empty((n, r)), np.empty((n, r)), np.empty((m + n, r))
    season[:m] = np.stack([np.resize(form.season, m) for form in forms], 1)
    for t in range(n):
        s, drifted = season[t], now + phi * drift
        error = values[:, t] - drifted - s
        error = np.where(np.isnan(error), 0.0, error)
        now, drift = drifted + alpha * error, phi * drift + beta * error
        level[t], slope[t], season[m + t] = now, drift, s + gamma * error
    return level.T, slope.T, season.T


def ahead(forms: Sequence[Form], level: Values, slope: Values, season: Values, horizon: int) -> Values:
    """(R, H) from the states after the last value: level and slope (R,), the last m seasonal states (R, m) in order
    of time."""
    phi = np.array([form.phi for form in forms])
    steps = np.arange(horizon)
    damped = np.cumsum(phi[:, None] ** (steps + 1), axis=1)
    made: Values = level[:, None] + damped * slope[:, None] + season[:, steps % season.shape[1]]
    return made
