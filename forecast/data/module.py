"""The data of a run for Lightning: read, cut, scaled, and served as whole batches.

The only Lightning file here. The Trainer needs `use_distributed_sampler=False`: ranks are divided here.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pytorch_lightning as lightning
from torch.utils.data import DataLoader

from forecast.data.batch import Gather
from forecast.data.card import Card, CardFile, TimeColumn, card_file, load_card, plain_splits
from forecast.data.clock import known_zone
from forecast.data.coding import Coding
from forecast.data.covariates import columns_beside, told
from forecast.data.freq import Ints, parse_freq
from forecast.data.holidays import Holidays, is_table, named, placed, read_table, suits
from forecast.data.infer import REST, infer_frame_card, is_rest
from forecast.data.known import coding_of, complete, facts_of, known_of
from forecast.data.loader import BatchDataset, Loader, loader, served
from forecast.data.panel import BY_SCALE, borders, column_weights, in_front, left_out, said, weigh
from forecast.data.read import absolute, from_frame, read_file, read_frame, sha256
from forecast.data.recipe import Recipe
from forecast.data.roles import narrow, with_roles, words
from forecast.data.scale import Scaler, constant, few, fit
from forecast.data.settings import asked, least_context, numbers, shares, whole
from forecast.data.split import PARTS, Split, split
from forecast.data.table import Floats, Series, apply_gaps, gap_list, holidays_of, runs, select, stamp, summary
from forecast.data.window import Windows, windows
from forecast.errors import UsageError, nearest
from forecast.types import SeriesBatch, Spec

GAPS: Final = 10_000  # so many are listed


class SeriesModule(lightning.LightningDataModule):
    """Series from a card or a file. `prepare` makes all but the loaders; Lightning calls it in `setup`."""

    card: Card
    series: Series  # inputs, after the treatment of gaps
    observed: np.ndarray  # (N, C) bool, what was measured
    split: Split
    scaler: Scaler
    spec: Spec
    gather: Gather
    coding: Coding | None  # of the covariates, where there are any
    findings: list[str]  # for people: what was read and inferred
    source: dict[str, Any]  # the file that was read: absolute path, sha256, rows
    gap_list: list[dict[str, Any]]  # id, channel (None: all), first, last, steps; the longest GAPS of them
    gap_total: int  # all of them
    left_out: dict[str, list[str]]  # part -> series without a window in it
    weight: Floats | None  # (S,) of each series in the loss

    def __init__(
        self,
        *,
        context: int,
        horizon: int,
        card: str | None = None,
        path: str | None = None,
        time: str | None = None,
        id: str | None = None,
        target: str | Sequence[str] | None = None,
        past: str | Sequence[str] | None = None,
        known: str | Sequence[str] | None = None,
        static: str | Sequence[str] | None = None,
        categories: str | Sequence[str] | None = None,
        covariates: str | None = None,
        freq: str | None = None,
        zone: str | None = None,
        season: int | None = None,
        missing: float | Sequence[float] | None = None,
        splits: Mapping[str, Any] | None = None,
        holidays: str | Sequence[str] | None = None,
        gaps: str = "error",
        scale: str = "standard",
        min_context: int | None = None,
        sample: str = "window",
        weight: str | None = None,
        stride: int = 1,
        batch_size: int = 32,
        workers: int = 0,
        seed: int = 1,
    ) -> None:
        """`card` names a known data set, `path` a file; with both, the file is read as the card says."""
        super().__init__()
        if card is None and path is None:
            raise UsageError(
                "neither data.card nor data.path is set",
                "expected a data set or a file",
                "set data=electricity, or data=series data.path=FILE",
            )
        # Both hold in every folder, so that they can be kept with a run.
        self.name = str(own) if card is not None and (own := card_file(card)) else card
        self.path = None if path is None else str(absolute(path))
        self.columns: dict[str, Any] = {"time": time, "id": id}
        self.target, self.past = words(target), words(past)
        self.roles = {"known": words(known), "static": words(static), "categories": words(categories)}
        self.covariates = None if covariates is None else str(absolute(covariates))
        self.facts: dict[str, Any] = {
            "freq": freq,
            "zone": zone,
            "season": None if season is None else whole("data.season", season, 1, 24),
            "missing": numbers("data.missing", missing),
            "splits": shares("data.splits", splits),
        }
        with asked():
            if zone is not None:
                known_zone(zone)
            given = named(holidays, "data.holidays")
        # None: those of the card; an empty list: none.
        self.holidays = None if holidays is None else placed(given, Path.cwd())
        self.looked_up: Holidays | None = None
        self.gaps, self.scale = gaps, scale
        self.context = whole("task.context", context, 1, 96)
        self.horizon = whole("task.horizon", horizon, 1, 24)
        self.stride = whole("data.stride", stride, 1, 1)
        self.batch_size = whole("data.batch_size", batch_size, 1, 32)
        self.workers = whole("data.workers", workers, 0, 0)
        self.seed = whole("data.seed", seed, 0, 1)
        self.sample, self.weigh = sample, weight
        self.least = least_context(min_context, self.context, gaps)
        self.prepared = False

    def prepare(self) -> "SeriesModule":
        """Read, check, cut and scale, once."""
        if self.prepared:
            return self
        notes: list[str] = []
        card, full = self._read(notes)
        past = self._past(full)
        measured = select(full, self.target, past)
        treated, observed = apply_gaps(measured, self.gaps)
        self.card, self.past, self.covariates = card, past, card.covariates
        parts = self._split(measured, card)
        self.scaler = self._scaler(measured, parts)
        notes += [*constant(measured, parts.train), *few(measured, parts.train)]
        lack = self.context - self.least if self.least is not None else 0
        self.series, self.observed, self.split = in_front(treated, observed, parts, lack)
        s = self.series
        self.left_out = left_out(s, self.split, self.context, self.horizon)
        notes += [*said(self.left_out, len(s.ids)), *borders(s, self.split)]
        length, steps = self.context, self.horizon
        self.coding = self._coding(s)
        known = known_of(s, self.coding, context=length, horizon=steps, gaps=self.gaps)
        complete(known, s, self.split.test[:, 1], self.coding)
        spec = Spec(s.channels, s.targets, s.units, s.fields, length, steps, s.freq, s.season)
        self.spec = spec._replace(**facts_of(self.coding, self.gaps))
        self.weight = weigh(self.weigh, self.scaler, s.targets, self.given)
        self.gather = Gather.of(
            s, self.scaler, context=length, horizon=steps, observed=self.observed, known=known, weight=self.weight
        )
        missing = runs(measured)
        self.gap_list, self.gap_total = gap_list(measured, missing, GAPS), len(missing.first)
        if self.gap_total > GAPS:
            notes.append(f"the longest {GAPS:,} of {self.gap_total:,} gaps are listed")
        lines = findings_of(card, self.name is None, measured, measured.time, parts, summary(measured, missing))
        self.findings = [*lines, *notes]
        self.prepared = True
        return self

    def _read(self, notes: list[str]) -> tuple[Card, Series]:
        """The card in effect, which names the files really read, and the series."""
        for source in (self.holidays or ()) if self.looked_up is None else ():
            if is_table(source):
                read_table(Path(source))  # what is wrong with it is said before anything else is read
        if self.name is None:
            assert self.path is not None
            place = Path(self.path)
            frame, file = self._file(place, notes)
            card = self._inferred(self._bare(frame), place)
            read = [file]
            left = [c for c in frame.columns if c not in (card.time.column, card.id, *(c.name for c in card.channels))]
            if left and self.past is not None and is_rest(self.past, frame.columns):
                notes.append(f"data.past={REST} leaves out {', '.join(left)}: no numbers")
        else:
            card, own = self._card(self.name), card_file(self.name)
            frame, read = read_frame(card, path=self.path, folder=own and own.parent, notes=notes)
            beside = {*(self.roles["known"] or ()), *(self.roles["static"] or ())}
            card = card.named([c for c in self._bare(frame).columns if c not in beside])
            if own and len(read) == 1:
                self.path = read[0].path
        read = [file if file.sha256 else replace(file, sha256=sha256(Path(file.path))) for file in read]
        card = self._with_roles(card)
        self.source = _source(read, card.covariates)
        paths = [Path(self.path).name] if self.path else [file.path for file in card.files]
        card = replace(card, files=tuple(replace(f, path=path) for f, path in zip(read, paths, strict=True)))
        if self.holidays is not None:
            card = replace(card, holidays=self.holidays)
        with asked(self.holidays is not None):
            suits(card.holidays, card.time.freq)
        where = Path(read[0].path).name
        full = from_frame(card, frame, where, notes, self.looked_up)
        self.given = column_weights(self.weigh, frame, card.id, full, where)
        return card, full

    def _file(self, place: Path, notes: list[str]) -> tuple[pl.DataFrame, CardFile]:
        """The table of data without a card, and what is known of where it is from."""
        frame = read_file(place, notes)
        return frame, CardFile(str(place), rows=frame.height)

    def _split(self, measured: Series, card: Card) -> Split:
        with asked(self.facts["splits"] is not None):
            return split(measured, card.splits)

    def _scaler(self, measured: Series, parts: Split) -> Scaler:
        return fit(self.scale, measured, parts.train)

    def _coding(self, series: Series) -> Coding | None:
        return coding_of(series, self.split.train, scaled=self.scale != "none")

    def _bare(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Without the column of weights, which is no channel unless it is named as one."""
        kept = (BY_SCALE, *(self.target or ()), *(self.past or ()))
        return frame if self.weigh is None or self.weigh in kept else frame.drop(self.weigh, strict=False)

    def _with_roles(self, card: Card) -> Card:
        """The covariates in effect; of a second table that nothing is said about every column is known ahead."""
        card = replace(card, covariates=self.covariates or card.covariates)
        known = self.roles["known"]
        if card.covariates and known is None and not any(c.role == "known_future" for c in card.channels):
            taken = {c.name for c in card.channels} | {*(self.roles["static"] or ()), *(self.past or ())}
            known = [c for c in columns_beside(read_file(Path(card.covariates)), card) if c not in taken]
        with asked():
            return with_roles(card, known=known, static=self.roles["static"], categories=self.roles["categories"])

    def remember(self, holidays: Holidays | None) -> "SeriesModule":
        """Before `prepare`: the days off as the run knows them that is scored or gone on with."""
        self.looked_up = holidays
        return self

    def _inferred(self, frame: pl.DataFrame, place: Path) -> Card:
        """The card of a file without one; what is set in the config is not inferred."""
        facts = {k: v for k, v in self.facts.items() if v not in (None, ())}
        return infer_frame_card(
            frame, place.name, name=place.stem, **self.columns, target=self.target, past=self.past,
            known=self.roles["known"] or (), static=self.roles["static"] or (), **facts,
        )  # fmt: skip

    def _card(self, name: str) -> Card:
        """A card as it is in effect: what is set in the config wins."""
        facts = {k: v for k, v in self.facts.items() if v not in (None, ())}
        card = load_card(name)
        time = TimeColumn(
            self.columns["time"] or card.time.column,
            parse_freq(facts["freq"]).alias if "freq" in facts else card.time.freq,
            facts.get("zone", card.time.zone),
        )
        season = facts.get("season", parse_freq(facts["freq"]).season if "freq" in facts else card.season)
        return replace(
            card,
            time=time,
            id=self.columns["id"] or card.id,
            season=season,
            missing=facts.get("missing", card.missing),
            splits=plain_splits(facts.get("splits", card.splits)),
        )

    def _past(self, full: Series) -> list[str] | None:
        """Names of the channels that are only looked at."""
        if self.past is None or not is_rest(self.past, full.channels):
            apart = full.covariates.behind if full.covariates else ()
            return self.past if self.past is None else [name for name in self.past if name not in apart]
        return [c for c in full.channels if c not in (self.target or full.channels)]

    def where(self, batch: SeriesBatch, most: int = 3) -> str:
        """Where the forecasts of a batch begin, for people: stamps and names of series."""
        begins = [
            f"{stamp(self.series.time[row])} of series '{self.series.ids[number]}'"
            for row, number in zip(batch.origin[:most].tolist(), batch.series[:most].tolist(), strict=True)
        ]
        left = len(batch.origin) - most
        return ", ".join(begins) + (f" and {left} more" if left > 0 else "")

    def setup(self, stage: str | None = None) -> None:
        self.prepare()

    def windows(self, part: str) -> Windows:
        """The windows of train, val or test."""
        if part not in PARTS:
            raise UsageError(f"there is no part '{part}'", nearest(part, PARTS))
        self.prepare()
        stride = self.stride if part == "train" else 1
        return windows(self.series, getattr(self.split, part), self.context, self.horizon, stride, part)

    def dataset(self, part: str) -> BatchDataset:
        """The windows of a part with the table they index."""
        return BatchDataset(self.gather, self.windows(part)) if self.prepared else self.prepare().dataset(part)

    def blocks(self, part: str) -> Iterator[tuple[int, Series, Ints]]:
        """All series, as many at a time as fit in memory: the row of the first, what was measured of them, and the rows
        of the part (S, 2) in that."""
        self.prepare()
        measured = np.where(self.observed, self.series.values, np.nan)
        yield 0, self.series._replace(values=measured), getattr(self.split, part)

    def sampled(self) -> "SeriesModule":
        """What is scored where that takes memory or time for every series: all of them, or some of too many."""
        return self.prepare()

    def in_memory(self) -> "SeriesModule":
        """For what needs the table of all series at once."""
        return self.prepare()

    def train_dataloader(self) -> Loader | DataLoader[SeriesBatch]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> Loader | DataLoader[SeriesBatch]:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> Loader | DataLoader[SeriesBatch]:
        return self._loader("test", shuffle=False)

    def _loader(self, part: str, *, shuffle: bool) -> Loader | DataLoader[SeriesBatch]:
        data = self.dataset(part)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return loader(
            data,
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            done=self._done if self.trainer is not None and shuffle else None,
            rank=rank,
            world=world,
            workers=self.workers,
            sample=self.sample,
        )

    def _done(self, batches: int) -> tuple[int, int]:
        assert self.trainer is not None
        return served(self.trainer, batches)

    def state(self) -> dict[str, Any]:
        """Plain data with which `Recipe.from_state` treats another table as this one was treated."""
        self.prepare()
        names = self.series.covariates.names if self.series.covariates else ()
        card = narrow(self.card, self.spec.channels, self.spec.targets, names)
        recipe = Recipe(card, self.gaps, self.scaler, self.spec, self.series.holidays, self.coding, self.least)
        left = {part: names for part, names in self.left_out.items() if names}
        return {**recipe.to_state(), "source": self.source, **({"left_out": left} if left else {})}


def _source(read: Sequence[CardFile], covariates: str | None) -> dict[str, Any]:
    """What was read, for the record; several files: the first one's path and the digest of their digests."""
    digests = [file.sha256 for file in read] + ([sha256(Path(covariates))] if covariates else [])
    joined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"path": read[0].path, "sha256": joined, "rows": sum(file.rows or 0 for file in read)}


def findings_of(card: Card, inferred: bool, series: Series, time: Any, parts: Split, missing: str) -> list[str]:
    """Lines for people: what was inferred, how much there is, what is missing."""
    many = f"{len(series.ids):,} series, " if len(series.ids) > 1 else ""
    behind = len(series.channels) - series.targets
    channels = f"{series.targets} target{'s' if series.targets > 1 else ''}"
    channels += f" and {behind} past-only" if behind else ""
    channels += told(series.covariates)
    sizes = {part: int((r[:, 1] - r[:, 0]).sum()) for part, r in zip(PARTS, parts, strict=True)}
    lines = (
        [
            f"inferred: time={card.time.column} id={card.id or 'none'} freq={card.time.freq} "
            f"season={card.season} target={','.join(series.channels[: series.targets])}"
        ]
        if inferred
        else []
    )
    return [
        *lines,
        f"{card.name}: {many}{len(time):,} rows every {series.freq} "
        f"from {stamp(time.min())} to {stamp(time.max())}, {channels}",
        f"parts: {', '.join(f'{name} {rows:,} rows' for name, rows in sizes.items())}",
        f"missing: {missing}",
        *([f"holidays: {holidays_of(series)}"] if series.holidays else []),
    ]
