"""Forecasts that add up: the forecasts of all nodes of a hierarchy, projected onto those that are sums of each other.

Wickramasuriya, Athanasopoulos & Hyndman 2019 (MinT): ỹ = S (S'W⁻¹S)⁻¹ S'W⁻¹ ŷ for a covariance W of the errors of ŷ;
with the constraints C = [I, −sums] it is ỹ = ŷ − W C'(C W C')⁻¹ C ŷ: one system of as many unknowns as aggregates.
W is I for ols, the errors' variances for wls, and for mint their covariance, shrunk towards the variances (Schäfer &
Strimmer 2005) so that it can be inverted where there are fewer errors than nodes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from forecast.data.hierarchy import Hierarchy
from forecast.data.table import Floats
from forecast.errors import DataError, UsageError

METHODS: Final = ("bottom_up", "ols", "wls", "mint")
FROM_ERRORS: Final = ("wls", "mint")
LEAST: Final = 3  # errors of each node, of the same origins
KEYS: Final = ["channel", "cutoff", "ds", "step"]


def bottom_up(base: Floats, hierarchy: Hierarchy) -> Floats:
    """(…, B) forecasts of the bottom series -> (…, A + B), the aggregates their sums."""
    return np.asarray(np.concatenate([base @ hierarchy.sums.T, base], axis=-1))


def project(base: Floats, hierarchy: Hierarchy, covariance: Floats | None = None) -> Floats:
    """(…, A + B) forecasts of all nodes -> coherent ones, by the errors' covariance (A + B, A + B), or that of ols."""
    sums, count = hierarchy.sums, len(hierarchy.aggregates)
    w = np.eye(len(hierarchy.nodes)) if covariance is None else covariance
    away = base[..., :count] - base[..., count:] @ sums.T  # C ŷ
    cw = w[:count] - sums @ w[count:]  # C W
    cwc = cw[:, :count] - cw[:, count:] @ sums.T
    share = np.linalg.lstsq(cwc, cw, rcond=None)[0]  # two aggregates may be sums of the same series
    return bottom_up(base[..., count:] - away @ share[:, count:], hierarchy)  # summed anew: coherent to rounding


def shrunk(errors: Floats) -> Floats:
    """(n, M) errors -> (M, M): their second moments, those off the diagonal shrunk by λ = Σ Var(r) / Σ r²."""
    n = len(errors)
    moments = errors.T @ errors / n
    deviation = np.sqrt(np.diag(moments))
    deviation = np.where(deviation > 0, deviation, 1.0)
    z = errors / deviation
    r = z.T @ z / n
    spread = (np.square(z).T @ np.square(z) / n - r**2) / (n - 1)  # variance of the mean of z_i z_j
    off = ~np.eye(len(r), dtype=bool)
    below = float((r[off] ** 2).sum())
    share = float(np.clip(spread[off].sum() / below, 0.0, 1.0)) if below > 0 else 1.0
    return np.asarray(np.where(off, (1 - share) * moments, moments))


def covariance(method: str, errors: Floats) -> Floats:
    """W of wls or mint from (n, M) errors; a node that was never wrong weighs as the most exact of the others."""
    w = shrunk(errors) if method == "mint" else np.diag(np.square(errors).mean(axis=0))
    size = np.diag(w).copy()
    least = size[size > 0].min() if (size > 0).any() else 1.0
    w[np.diag_indices_from(w)] = np.where(size > 0, size, least)
    return w


def errors_of(path: Path, hierarchy: Hierarchy, channel: str) -> Floats:
    """(n, A + B) errors one step ahead from a run's predictions, of the origins at which every node has one."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing", "expected the errors of the run", "train with predictions=true, or set reconcile=ols"
        )
    frame = pl.scan_parquet(path).filter((pl.col("step") == 1) & (pl.col("channel") == channel))
    frame = frame.filter(pl.col("y").is_not_null()).select("unique_id", "cutoff", error=pl.col("y") - pl.col("y_hat"))
    found = frame.collect()
    if absent := sorted(set(hierarchy.nodes) - set(found["unique_id"].unique())):
        raise DataError(
            f"the run has no errors of '{absent[0]}'{f' and {len(absent) - 1:,} more' if len(absent) > 1 else ''}",
            "expected those of every node of the hierarchy",
            "train with the sums as series of their own, or set reconcile=ols",
        )
    table = found.pivot(on="unique_id", index="cutoff", values="error")[list(hierarchy.nodes)].drop_nulls()
    if table.height < LEAST:
        raise DataError(
            f"the run has {table.height} origins at which every node has an error",
            f"expected at least {LEAST}",
            "set reconcile=ols",
        )
    return table.to_numpy().astype(np.float64)


def check(hierarchy: str | None, reconcile: str | None) -> None:
    """Neither key makes sense without the other."""
    if (hierarchy is None) != (reconcile is None):
        have, lack = ("hierarchy", "reconcile") if reconcile is None else ("reconcile", "hierarchy")
        word = "bottom_up" if lack == "reconcile" else "FILE"
        raise UsageError(f"{have} is set, {lack} is not", "expected both or none", f"set {lack}={word}")


def reconcile(made: pl.DataFrame, hierarchy: Hierarchy, method: str, predictions: Path) -> pl.DataFrame:
    """Forecasts of series (unique_id, channel, cutoff, ds, step, y_hat) -> those of all nodes, which add up.

    Bottom-up asks for the bottom series alone; the others for every node, wls and mint for the run's errors too. Only
    y_hat comes back: a quantile of a sum is no sum of quantiles.
    """
    wanted = hierarchy.bottom if method == "bottom_up" else hierarchy.nodes
    _complete(set(made["unique_id"]), wanted, hierarchy, method)
    parts = []
    for channel in made["channel"].unique(maintain_order=True):
        one = made.filter(pl.col("channel") == channel)
        wide = one.pivot(on="unique_id", index=KEYS, values="y_hat").sort("step", "ds")
        _same_steps(one, wide, wanted)
        base = wide[list(wanted)].to_numpy()
        whole = _whole(base, hierarchy, method, predictions, channel)
        keys = wide.select(KEYS)
        parts += [
            keys.select(pl.lit(name).alias("unique_id"), *KEYS, y_hat=pl.Series(whole[:, i]))
            for i, name in enumerate(hierarchy.nodes)
        ]
    return pl.concat(parts)


def _whole(base: Floats, hierarchy: Hierarchy, method: str, predictions: Path, channel: str) -> Floats:
    """(h, A + B) coherent forecasts of one channel."""
    if method == "bottom_up":
        return bottom_up(base, hierarchy)
    if method in FROM_ERRORS:
        return project(base, hierarchy, covariance(method, errors_of(predictions, hierarchy, channel)))
    return project(base, hierarchy)


def _complete(have: set[str], wanted: Sequence[str], hierarchy: Hierarchy, method: str) -> None:
    """Every node that is wanted is forecast, and nothing that the hierarchy does not know."""
    if absent := [name for name in wanted if name not in have]:
        sums = absent[0] in hierarchy.aggregates
        raise DataError(
            f"the hierarchy names '{absent[0]}'{f' and {len(absent) - 1:,} more' if len(absent) > 1 else ''}, "
            "which the input does not hold",
            f"expected every {'series' if method == 'bottom_up' else 'node'} for reconcile={method}",
            "add the history of the sums, or set reconcile=bottom_up" if sums else "add it, or correct the hierarchy",
        )
    if odd := sorted(have - set(hierarchy.nodes)):
        raise DataError(
            f"the hierarchy does not name '{odd[0]}'{f' and {len(odd) - 1:,} more' if len(odd) > 1 else ''}",
            "expected a place for each series of the input",
            "add it to the hierarchy, or leave it out of the input",
        )


def _same_steps(one: pl.DataFrame, wide: pl.DataFrame, wanted: Sequence[str]) -> None:
    """What is added up must be forecast for the same stamps."""
    if wide.height == one["step"].n_unique():
        return
    ends = one.filter(pl.col("unique_id").is_in(list(wanted))).group_by("unique_id", maintain_order=True)
    table = ends.agg(pl.col("cutoff").first()).sort("cutoff", maintain_order=True)
    first, last = table.row(0), table.row(-1)
    raise DataError(
        f"series '{first[0]}' ends at {first[1]}, '{last[0]}' at {last[1]}",
        "expected one end for all series that are added up",
        "give them the same last row",
    )
