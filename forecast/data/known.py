"""Covariates of windows: the past and the future of each as they were known at its cutoff.

A table without `available_at` is laid beside the rows of the series once; one with vintages is looked up for each
batch, for all its windows at once. A value that is missing where a forecast needs it is a DataError, or with
data.gaps=mask 0 with a mask beside it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.coding import Coding, fit
from forecast.data.covariates import AHEAD, BEHIND, STATIC, Table
from forecast.data.freq import Ints
from forecast.data.table import Series, stamp
from forecast.data.vintages import Vintages, within
from forecast.errors import DataError

AT_ONCE: Final = 1 << 18  # steps looked up in one go


class Known:
    """The covariates of a table of series: K known ahead, then P seen in the past only, and Q facts of series."""

    def __init__(
        self, sources: Sequence[tuple[list[int], Tensor | Vintages]], facts: Tensor | None, *, ahead: int, width: int,
        context: int, horizon: int, masks: bool,
    ) -> None:  # fmt: skip
        """`sources`: which of the K + P columns, and their values (N, k) by row or their vintages."""
        self.sources, self.facts, self.ahead, self.width = list(sources), facts, ahead, width
        self.context, self.horizon, self.masks = context, horizon, masks

    def __call__(self, origin: Tensor, series: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(B,) rows of the first targets and numbers of their series → past (B, L, K + P), future (B, H, K), facts
        (B, Q) as `SeriesBatch` has them."""
        facts = None if self.facts is None else self.facts[series]
        if not self.width:
            return None, None, facts
        past = self._masked(self.look(origin[:, None] + torch.arange(-self.context, 0), origin - 1, series))
        if not self.ahead:
            return past, None, facts
        future = self.look(origin[:, None] + torch.arange(self.horizon), origin - 1, series)[..., : self.ahead]
        return past, self._masked(future), facts

    def look(self, rows: Tensor, cutoff: Tensor, series: Tensor) -> Tensor:
        """(B, l) rows as known at rows `cutoff` (B,) → (B, l, K + P), NaN where missing."""
        found = [(at, source[rows] if isinstance(source, Tensor) else source(rows, cutoff, series))
                 for at, source in self.sources]  # fmt: skip
        if len(found) == 1 and found[0][0] == list(range(self.width)):
            return found[0][1]
        out = torch.full((*rows.shape, self.width), torch.nan)
        for at, values in found:
            out[..., at] = values
        return out

    def _masked(self, values: Tensor) -> Tensor:
        if not self.masks:
            return values.nan_to_num(0.0)
        return torch.cat([values.nan_to_num(0.0), (~values.isnan()).float()], -1)

    @property
    def row_bytes(self) -> int:
        """Bytes of one window in a batch."""
        return 4 * (1 + self.masks) * (self.context * self.width + self.horizon * self.ahead)


def coding_of(series: Series, ranges: Ints, *, scaled: bool) -> Coding | None:
    """How covariates are coded, from the rows [first, last) of `ranges` (S, 2), the training's, as known by their
    end; None where there are none."""
    if (known := series.covariates) is None:
        return None
    roles = {**dict.fromkeys(known.ahead, AHEAD), **dict.fromkeys(known.behind, BEHIND)}
    columns = {}
    for table in known.tables:
        rows = within(table, series, ranges)
        for k, name in enumerate(table.names):
            values = table.values[rows, k]
            columns[name] = fit(name, roles[name], values, table.words[k], scaled=scaled, beside=table.beside)
    facts = [fit(name, STATIC, known.facts[:, i], known.words[i], scaled=scaled, beside=False)
             for i, name in enumerate(known.static)]  # fmt: skip
    return Coding((*(columns[name] for name in known.moving), *facts))


def facts_of(coding: Coding | None, gaps: str) -> dict[str, Any]:
    """What the spec says of covariates."""
    if coding is None:
        return {}
    names = {"known": coding.names(AHEAD), "behind": coding.names(BEHIND), "static": coding.names(STATIC)}
    return {**names, "sizes": tuple(c.size for c in coding.columns), "masks": gaps == "mask"}


def known_of(
    series: Series,
    coding: Coding | None,
    *,
    context: int,
    horizon: int,
    gaps: str,
    cutoff: NDArray[np.int64] | None = None,
) -> Known | None:  # fmt: skip
    """The covariates beside the rows of `series`; None where there are none.

    `cutoff` (S,): the only rows at which forecasts will be made; everything is looked up at once then, and what one
    table lacks is taken from the next.
    """
    known = series.covariates
    if known is None or coding is None:
        return None
    names = [c.name for c in coding.moving]
    sources: list[tuple[list[int], Tensor | Vintages]] = []
    number, rows = torch.from_numpy(series.number), torch.arange(len(series.time))
    whole = torch.full((len(rows), len(names)), torch.nan)
    plain: list[int] = []
    for table in known.tables:
        at = [names.index(name) for name in table.names if name in names]
        vintages = Vintages(table, series, _coded(table, coding))
        if table.available is not None and cutoff is None:
            sources.append((at, vintages))
            continue
        seen = rows if cutoff is None else torch.from_numpy(cutoff)[number]
        found = vintages(rows[:, None], seen, number)[:, 0]
        whole[:, at] = torch.where(whole[:, at].isnan(), found, whole[:, at])
        plain = sorted({*plain, *at})
    if plain:
        if gaps == "fill":
            _fill(whole, series, None if cutoff is None else cutoff)
        sources.append((plain, whole[:, plain].contiguous()))
    facts = [c.apply(known.facts[:, i], known.words[i]) for i, c in enumerate(coding.facts)]
    table_of_facts = torch.from_numpy(np.column_stack(facts).astype(np.float32)) if facts else None
    ahead = len(coding.names(AHEAD))
    return Known(sources, table_of_facts, ahead=ahead, width=len(names), context=context, horizon=horizon,
                 masks=gaps == "mask")  # fmt: skip


def _coded(table: Table, coding: Coding) -> NDArray[np.float64]:
    columns = [coding.get(name) for name in table.names]
    coded = [c.apply(table.values[:, k], table.words[k]) for k, c in enumerate(columns) if c is not None]
    return np.column_stack(coded)


def _fill(values: Tensor, series: Series, cutoff: NDArray[np.int64] | None) -> None:
    """Carry the last value of a series forward, (N, K) in place; not beyond the end of what is past."""
    rows = np.arange(len(values))
    number = series.number
    past = rows <= (series.start[1:] - 1 if cutoff is None else cutoff)[number]
    seen = ~np.isnan(values.numpy())
    last = np.maximum.accumulate(np.where(seen, rows[:, None], -1), axis=0)
    usable = (last >= series.start[number][:, None]) & past[:, None]
    values.copy_(torch.where(torch.from_numpy(usable), values.gather(0, torch.from_numpy(np.maximum(last, 0))), values))


def complete(known: Known | None, series: Series, until: Ints, coding: Coding | None, *, ahead: bool = False) -> None:
    """Refuse a covariate that is missing where a window before rows `until` (S,) needs it, at the first cutoff that
    does: DataError naming series, column and date. With masks only a future without any value is refused.

    `ahead`: the last horizon of each series lies in the future.
    """
    if known is None or coding is None or not known.width or known.masks and not ahead:
        return
    number, end = series.number, series.start[1:] - known.horizon
    rows = np.flatnonzero(np.arange(len(number)) < until[number])
    for some in np.array_split(rows, len(rows) // AT_ONCE + 1):
        mine = number[some]
        begin = series.start[:-1][mine] + known.context - 1
        if ahead:
            since = np.tile((end[mine] - 1)[:, None], known.width)
        else:  # the first cutoff that needs a row: what is known ahead is needed a horizon before
            lead = np.where(np.arange(known.width) < known.ahead, known.horizon, 0)
            since = np.minimum(np.maximum(some[:, None] - lead, begin[:, None]), (series.start[1:][mine] - 1)[:, None])
        missing = np.zeros((len(mine), known.width), bool)
        for columns in (slice(0, known.ahead), slice(known.ahead, known.width)):
            if columns.start < columns.stop:
                asked = (some[:, None], since[:, columns.start], mine)
                missing[:, columns] = known.look(*map(torch.from_numpy, asked))[:, 0, columns].isnan().numpy()
        if ahead:
            missing[some >= end[mine], known.ahead :] = False
        if known.masks:
            missing &= _forgotten(missing, some, series, known.horizon)
        if missing.any():
            at = int(missing.any(axis=1).argmax())
            _refuse(series, coding, known, int(some[at]), missing, at, since, ahead and bool(some[at] >= end[mine[at]]))


def _forgotten(missing: NDArray[np.bool_], rows: Ints, series: Series, horizon: int) -> NDArray[np.bool_]:
    """Of missing values those in a horizon at the end of a series that has none at all."""
    number = series.number[rows]
    future = rows >= series.start[1:][number] - horizon
    count = np.zeros((len(series.ids), missing.shape[1]), np.int64)
    np.add.at(count, number, missing & future[:, None])
    return np.asarray((count == horizon)[number] & future[:, None])


def _refuse(
    series: Series,
    coding: Coding,
    known: Known,
    row: int,
    missing: NDArray[np.bool_],
    at: int,
    since: Ints,
    future: bool,
) -> None:
    """Name the first value that is missing, and when it was needed."""
    column, count = int(missing[at].argmax()), int(missing.any(axis=1).sum())
    more = f" (and for {count - 1:,} more stamps)" if count > 1 else ""
    vintages = any(isinstance(source, Vintages) and column in columns for columns, source in known.sources)
    when = f" that was available at {stamp(series.time[since[at, column]])}" if vintages else ""
    raise DataError(
        f"series '{series.ids[int(series.number[row])]}' has no value of '{coding.moving[column].name}' for "
        f"{stamp(series.time[row])}{when}{more}",
        "expected one for every step to forecast" if future else "expected one for every step",
        "give it in rows after the end of the targets, or in covariates=FILE" if future
        else "give it, let the data begin later, or set data.gaps=mask",
        reason="missing_known",
    )  # fmt: skip
