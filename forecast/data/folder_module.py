"""The data of a run from a folder of parquet files that may be larger than memory: data=folder.

What SeriesModule holds in memory lies in a cache here (cache.py), which is mapped. For the same rows, settings and seed
the batches are the same, to the bit, and so is what is trained on them.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from forecast.data.batch import LARGEST, Gather
from forecast.data.cache import Asked, prepared
from forecast.data.card import SPLITS, Card, CardFile, plain_splits
from forecast.data.clock import fields_for
from forecast.data.folder import Folder
from forecast.data.freq import Ints, parse_freq
from forecast.data.holidays import FIELDS as HOLIDAY_FIELDS
from forecast.data.holidays import Holidays, is_table, read_table, suits
from forecast.data.infer import infer_frame_card
from forecast.data.mapped import Calendar, MappedGather
from forecast.data.module import SeriesModule, findings_of
from forecast.data.panel import BY_SCALE, borders, said, weigh
from forecast.data.read import absolute
from forecast.data.recipe import Recipe
from forecast.data.roles import narrow
from forecast.data.scale import Scaler, constant, few
from forecast.data.settings import asked
from forecast.data.split import PARTS, Split
from forecast.data.stored import Statistics, Stored
from forecast.data.table import Series, covering, holidays_of
from forecast.errors import DataError, UsageError
from forecast.types import Spec

SAMPLE: Final = 1 << 21  # rows; of more, some series are scored where all would take memory or hours
INLINE: Final = 10_000  # series whose scales the record holds itself
NAMED: Final = 100  # series without a window that a record names


class FolderModule(SeriesModule):
    """`path` is a folder of parquet files, long: id, time, channels. `cache`: where it is kept windowed; beside the
    folder if it is not said."""

    def __init__(self, *, cache: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if self.path is None:
            raise UsageError("data.path is not set", "expected a folder of parquet files", "set data.path=DIR")
        if self.weigh not in (None, BY_SCALE):
            raise UsageError(f"data.weight is '{self.weigh}'", f"expected {BY_SCALE} with data=folder", "leave it out")
        self.cache = None if cache is None else str(absolute(cache))

    def prepare(self) -> "FolderModule":
        """Read and check once and for all; from then on the cache is opened."""
        if self.prepared:
            return self
        for source in filter(is_table, self.holidays or ()):
            read_table(Path(source))  # what is wrong with it is said before anything else is read
        assert self.path is not None
        root = absolute(self.path)
        folder = Folder.of(root)
        question, infer = self._question(folder)
        place = Path(self.cache) if self.cache else root.with_name(f"{root.name}.cache")
        try:
            kept, made = prepared(folder, question, infer, place)
        except OSError as fault:
            raise UsageError(
                f"{place} cannot be written: {fault.strerror or fault}",
                "expected a folder for the cache",
                "set data.cache=DIR",
            ) from fault
        self.stored = stored = Stored(kept)
        self.source = stored.facts.source
        self.card = card = self._in_effect(stored)
        if self.past is not None:
            self.past = stored.facts.channels[stored.facts.targets :]
        self.path, self.covariates, self.coding = str(root), None, None
        series = stored.series(card)
        bare = stored.series(card, lack=False)
        parts = self._split(bare, card)
        moved = (np.arange(len(bare.ids)) + 1)[:, None] * stored.facts.lack
        self.split = Split(*(part + moved for part in parts))
        found = stored.statistics(series, self.split.train, self.scale)
        self.scaler = self._settled(series, found)
        self._bounded(series, found)
        self._finish(series)
        self.findings = self._found(bare, parts, found, f"{len(folder.files):,} files, ", made)
        self.prepared = True
        return self

    def _found(self, bare: Series, parts: Split, found: Statistics, files: str, made: bool) -> list[str]:
        """Lines for people; `bare` and `parts` without what was put in front of series."""
        f, series, train = self.stored.facts, self.series, self.split.train
        self.gap_list, self.gap_total = f.gap_list, f.gap_total
        share = f.missing / max(1, len(bare.time) * len(f.channels))
        gaps = f"{f.gap_total:,} gaps, {share:.2%} of the values; the longest is {f.longest:,} steps"
        where = ("checked and written to" if made else "as in") + f" {self.stored.place}"
        return [
            *findings_of(self.card, self.name is None, bare, bare.time, parts, gaps if f.gap_total else "no gaps"),
            *([f"holidays: {holidays_of(series)}"] if series.holidays else []),
            f"cache: {files}{where}", *f.notes, *constant(series, train, (found.low, found.high)),
            *few(series, train, found.seen), *said(self.left_out, len(series.ids)), *borders(series, self.split),
        ]  # fmt: skip

    def _question(self, folder: Folder) -> tuple[Asked, Any]:
        """What the cache is made of, and how a card is inferred where there is none."""
        words = {key: self.facts[key] for key in ("freq", "zone", "missing") if self.facts[key] not in (None, ())}
        lack = self.context - self.least if self.least is not None else 0
        if self.name is not None:
            card = self._card(self.name)
            if card.covariates or any(channel.role not in ("target", "past_only") for channel in card.channels):
                raise UsageError(
                    f"the card '{card.name}' has covariates", "data=folder takes channels only", "use data=series"
                )
            time, id = card.time.column, card.id
            plain = {**card.to_dict(), "files": []}
        else:
            step = {"freq": "h", **words}
            first = infer_frame_card(
                folder.head(self.columns["id"]), folder.root.name, name=folder.root.stem, **self.columns,
                target=self.target, past=self.past, **step,
            )  # fmt: skip
            time, id, plain = first.time.column, first.id, None
        if id is None:
            raise DataError(
                f"no column of {folder.root} is known to name the series",
                "expected one, such as unique_id",
                "set data.id=COLUMN",
            )
        self.columns = {"time": time, "id": id}

        def infer(frame: pl.DataFrame) -> Card:
            return self._inferred(frame, folder.root)

        return Asked(time, id, self.target, self.past, self.gaps, lack, plain, words), infer

    def _in_effect(self, stored: Stored) -> Card:
        """The card with what is set in the config and does not touch the cache."""
        card = stored.card
        season, splits = self.facts["season"], self.facts["splits"]
        if self.name is None:
            season = season or parse_freq(card.time.freq).season
            card = replace(card, season=season, splits=plain_splits(splits or SPLITS))
        if self.holidays is not None:
            card = replace(card, holidays=self.holidays)
        with asked(self.holidays is not None):
            suits(card.holidays, card.time.freq)
        source = stored.facts.source
        return replace(card, files=(CardFile(Path(source["path"]).name, sha256=source["sha256"], rows=source["rows"]),))

    def _settled(self, series: Series, found: Statistics) -> Scaler:
        if self.scale == "none":
            return Scaler.none(series)
        return Scaler.settled(series, self.split.train, found.seen, found.mean, found.std, self.scale)

    def _finish(self, series: Series) -> None:
        """Windows and batches of the series, whose statistics are known."""
        card, facts = self.card, self.stored.facts
        first = series.time.min()
        fields = (*fields_for(series.freq), *(HOLIDAY_FIELDS if card.holidays else ()))
        days = (self.looked_up or Holidays(card.holidays)) if card.holidays else None
        known = covering(series._replace(holidays=days), series.time)
        self.series = series._replace(fields=fields, holidays=known)
        self.observed = cast(Any, Observed(self.stored))
        length, steps = self.context, self.horizon
        self.left_out = self._left_out(series)
        self.spec = Spec(
            series.channels, series.targets, series.units, fields, length, steps, series.freq, series.season
        )
        self.weight = weigh(self.weigh, self.scaler, series.targets, None)
        times = cast(Any, series.time)
        self.gather = MappedGather(
            self.stored.values, self.stored.unseen, times,
            Calendar.of(times, series.rows, fields, known, first), mean=self.scaler.mean, std=self.scaler.std,
            fields=fields, holidays=known, targets=series.targets, context=length, horizon=steps,
            whole=facts.whole and not facts.lack, weight=self.weight,
        )  # fmt: skip

    def _bounded(self, series: Series, found: Statistics) -> None:
        """As batch.py, from the extremes of each series."""
        with np.errstate(invalid="ignore"):
            size = np.fmax(np.abs(found.least - self.scaler.mean), np.abs(found.most - self.scaler.mean))
            wild = size / self.scaler.std > LARGEST
        if wild.any():
            s, c = (int(i) for i in np.argwhere(wild)[0])
            raise DataError(
                f"channel '{series.channels[c]}' of series '{series.ids[s]}' has values from {found.least[s, c]:g} to "
                f"{found.most[s, c]:g}, {size[s, c] / self.scaler.std[s, c]:.1e} when scaled",
                f"expected at most {LARGEST:.0e}",
                "correct the values, or set data.missing to one that means that nothing was measured",
            )

    def _left_out(self, series: Series) -> dict[str, list[str]]:
        """As panel.py."""
        found = {}
        for part, ranges in zip(PARTS, self.split, strict=True):
            first = np.maximum(ranges[:, 0], series.start[:-1] + self.context)
            found[part] = self.stored.ids.at(np.flatnonzero(first + self.horizon > ranges[:, 1]))
        return found

    def blocks(self, part: str) -> Iterator[tuple[int, Series, Ints]]:
        """As in SeriesModule, a block at a time."""
        self.prepare()
        for a, b in self.stored.blocks():
            first = int(self.series.start[a])
            yield first, self.stored.block(self.series, a, b), getattr(self.split, part)[a:b] - first

    def sampled(self) -> SeriesModule:
        """All series in memory if they have at most SAMPLE rows, else as many of them, drawn with a fixed seed, each
        with windows to validate and to test where there are such."""
        self.prepare()
        rows, count = self.series.rows, len(self.series.ids)
        order = np.random.default_rng(0).permutation(count)
        whole = np.ones(count, np.bool_)
        for ranges in (self.split.val, self.split.test):
            whole &= np.maximum(ranges[:, 0], self.series.start[:-1] + self.context) + self.horizon <= ranges[:, 1]
        order = np.concatenate([order[whole[order]], order[~whole[order]]])
        kept = np.searchsorted(np.cumsum(rows[order]), SAMPLE, side="right")
        return self.some(np.sort(order[: max(1, int(kept))]))

    def some(self, number: Ints) -> SeriesModule:
        """The series of these numbers (K,), rising, as a module in memory."""
        held, full = copy.copy(self), self.series
        rows = full.rows[number]
        start: Ints = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        moved = start[:-1] - full.start[number]
        at = np.arange(start[-1]) - np.repeat(moved, rows)
        rows_of = torch.from_numpy(at)
        values = self.stored.values.windows(rows_of, 1)[:, 0].double().numpy()
        observed = ~np.isnan(values)
        if self.stored.unseen is not None:
            observed &= self.stored.unseen.windows(rows_of, 1)[:, 0].numpy() == 0
        gather = cast(MappedGather, self.gather)
        ids = tuple(self.stored.ids.at(number))
        calendar = gather.calendar_of(at, np.repeat(number, rows))
        series = full._replace(ids=ids, start=start, values=values, time=full.time[at], clock=calendar)
        held.series, held.observed = series, observed
        held.split = Split(*(part[number] + moved[:, None] for part in self.split))
        held.scaler = Scaler(ids, self.scaler.mean[number], self.scaler.std[number], self.scaler.kind)
        held.weight = None if self.weight is None else self.weight[number]
        held.left_out = {part: [] for part in PARTS}
        held.gather = Gather.of(
            series, held.scaler, context=self.context, horizon=self.horizon, observed=observed, weight=held.weight
        )
        held.blocks = super(FolderModule, held).blocks  # type: ignore[method-assign]
        held.sampled = lambda: held  # type: ignore[method-assign]
        return held

    def state(self) -> dict[str, Any]:
        """As SeriesModule, with no more than NAMED names of series that are left out."""
        self.prepare()
        card = narrow(self.card, self.spec.channels, self.spec.targets)
        recipe = Recipe(card, self.gaps, self.scaler, self.spec, self.series.holidays, None, self.least)
        left = {part: names[:NAMED] for part, names in self.left_out.items() if names}
        plain = recipe.to_state(apart=len(self.series.ids) > INLINE)
        return {**plain, "source": self.source, **({"left_out": left} if left else {})}


class Observed:
    """What was measured, (N, C) bool, read where it is indexed."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.shape = (len(stored.values), stored.values.width)

    def __getitem__(self, at: tuple[slice, slice]) -> NDArray[np.bool_]:
        first, last, _ = at[0].indices(self.shape[0])
        last = max(first, last)
        seen = ~np.isnan(self.stored.values.read(first, last))
        if self.stored.unseen is not None:
            seen &= self.stored.unseen.read(first, last) == 0
        return seen[:, at[1]]
