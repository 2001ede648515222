"""The data of a run for Lightning: read, cut, scaled, and served as whole batches.

The only Lightning file here. The Trainer needs `use_distributed_sampler=False`: ranks are divided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from forecast.data.batch import Gather
from forecast.data.card import Card, TimeColumn, load_card, narrow, plain_splits
from forecast.data.freq import parse_freq
from forecast.data.infer import infer_card
from forecast.data.loader import BatchDataset, loader
from forecast.data.read import read_series
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler, fit
from forecast.data.split import PARTS, Split, split
from forecast.data.table import Series, apply_gaps, gaps, select, stamp, summary
from forecast.data.window import Windows, windows
from forecast.errors import UsageError, nearest
from forecast.types import SeriesBatch, Spec

REST: Final = "rest"  # data.past=rest: every channel that is not forecast


class SeriesModule(pl.LightningDataModule):
    """Series from a card or a file. `prepare` makes all but the loaders; Lightning calls it in `setup`."""

    card: Card
    series: Series  # inputs, after the treatment of gaps
    observed: np.ndarray  # (N, C) bool, what was measured
    split: Split
    scaler: Scaler
    spec: Spec
    gather: Gather
    findings: list[str]  # for people: what was read and inferred

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
        freq: str | None = None,
        zone: str | None = None,
        season: int | None = None,
        missing: Sequence[float] | None = None,
        splits: Mapping[str, Any] | None = None,
        gaps: str = "error",
        scale: str = "standard",
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
        if batch_size < 1:
            raise UsageError(f"data.batch_size is {batch_size}", "expected at least 1", "set data.batch_size=32")
        if workers < 0:
            raise UsageError(f"data.workers is {workers}", "expected 0 or more", "set data.workers=0")
        self.name, self.path = card, path
        self.columns: dict[str, Any] = {"time": time, "id": id}
        self.target = [target] if isinstance(target, str) else None if target is None else list(target)
        self.past = [past] if isinstance(past, str) else None if past is None else list(past)
        self.facts: dict[str, Any] = {
            "freq": freq,
            "zone": zone,
            "season": season,
            "missing": tuple(missing or ()),
            "splits": splits,
        }
        self.gaps, self.scale, self.context, self.horizon, self.stride = gaps, scale, context, horizon, stride
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.prepared = False

    def prepare(self) -> "SeriesModule":
        """Read, check, cut and scale, once."""
        if self.prepared:
            return self
        card, inferred = self._card()
        full = read_series(card, path=self.path)
        past = self._past(full)
        measured = select(full, self.target, past)
        self.series, self.observed = apply_gaps(measured, self.gaps)
        self.card, self.past = card, past
        self.split = split(measured, card.splits)
        self.scaler = fit(self.scale, measured, self.split.train)
        s = self.series
        self.spec = Spec(s.channels, s.targets, s.units, s.fields, self.context, self.horizon, s.freq, s.season)
        self.gather = Gather.of(s, self.scaler, context=self.context, horizon=self.horizon, observed=self.observed)
        self.findings = _findings(card, inferred, measured, self.split)
        self.prepared = True
        return self

    def _card(self) -> tuple[Card, bool]:
        """The card in effect, and whether it was inferred; what is set in the config wins over the card."""
        facts = {k: v for k, v in self.facts.items() if v not in (None, ())}
        if self.name is None:
            assert self.path is not None
            past = None if self.past == [REST] else self.past
            target = None if self.past == [REST] else self.target
            return infer_card(self.path, **self.columns, target=target, past=past, **facts), True
        card = load_card(self.name)
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
        ), False

    def _past(self, full: Series) -> list[str] | None:
        """Names of the channels that are only looked at."""
        if self.past != [REST] or REST in full.channels:
            return self.past
        return [c for c in full.channels if c not in (self.target or full.channels)]

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

    def train_dataloader(self) -> DataLoader[SeriesBatch]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[SeriesBatch]:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[SeriesBatch]:
        return self._loader("test", shuffle=False)

    def _loader(self, part: str, *, shuffle: bool) -> DataLoader[SeriesBatch]:
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
        )

    def _done(self, batches: int) -> tuple[int, int]:
        """Finished epochs, and batches of the next one, from the count of batches that a checkpoint keeps."""
        assert self.trainer is not None
        limit = self.trainer.limit_train_batches
        an_epoch = batches if limit is None else limit if isinstance(limit, int) else int(batches * limit)
        return divmod(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready, max(1, min(an_epoch, batches)))

    def state(self) -> dict[str, Any]:
        """Plain data with which `Recipe.from_state` treats another table as this one was treated."""
        self.prepare()
        card = narrow(self.card, self.spec.channels, self.spec.targets)
        return Recipe(card, self.gaps, self.scaler, self.spec).to_state()


def _findings(card: Card, inferred: bool, series: Series, parts: Split) -> list[str]:
    """Lines for people: what was inferred, how much there is, what is missing."""
    many = f"{len(series.ids):,} series, " if len(series.ids) > 1 else ""
    behind = len(series.channels) - series.targets
    channels = f"{series.targets} target{'s' if series.targets > 1 else ''}"
    channels += f" and {behind} past-only" if behind else ""
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
        f"{card.name}: {many}{len(series.time):,} rows every {series.freq} "
        f"from {stamp(series.time.min())} to {stamp(series.time.max())}, {channels}",
        f"parts: {', '.join(f'{name} {rows:,} rows' for name, rows in sizes.items())}",
        f"missing: {summary(series, gaps(series))}",
    ]
