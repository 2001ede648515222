"""The events of a run for Lightning: read or simulated, cut, and served as whole batches."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytorch_lightning as lightning

from forecast.data.card import card_file
from forecast.data.event_batch import EventGather
from forecast.data.event_card import EventCard, infer_event_card, load_event_card, read_event_frames
from forecast.data.event_extra import Extra, periods_of
from forecast.data.event_loader import EventLoader
from forecast.data.event_recipe import EventRecipe, labels_of
from forecast.data.event_split import EventSplit, Part, split_events, split_files
from forecast.data.events import Floats, read_events
from forecast.data.hawkes import Hawkes, hawkes, simulate
from forecast.data.loader import served
from forecast.data.read import absolute, digested, source_of
from forecast.data.settings import asked, shares, whole
from forecast.data.split import PARTS
from forecast.errors import DataError, UsageError, nearest
from forecast.types import EventBatch, EventSpec

SIMULATED: Final = ("base", "excite", "decay", "end", "sequences", "seed")
LEVELS: Final = 128  # quantiles that tell a model how the gaps of train lie


class EventModule(lightning.LightningDataModule):
    """Sequences of events from a card, a file or a simulated process. `prepare` makes all but the loaders."""

    card: EventCard
    split: EventSplit
    spec: EventSpec
    extra: Extra
    findings: list[str]  # for people: what was read and inferred
    source: dict[str, Any]  # what was read: absolute path, sha256, rows
    process: Hawkes | None  # the truth, where events are simulated

    def __init__(
        self, *, card: str | None = None, path: str | None = None, id: str | None = None, time: str | None = None,
        mark: str | None = None, labels: str | None = None, unit: str | None = None, grid: float | None = None,
        floor: float | None = None, twice: str | None = None, covariates: str | Sequence[str] | None = None,
        periods: Any = None, splits: Mapping[str, Any] | None = None, hawkes: Mapping[str, Any] | None = None,
        survival: bool = True, batch_size: int = 64, longest: int = 2048, places: int = 1 << 16, seed: int = 1,
    ) -> None:  # fmt: skip
        """`card` names a known data set, `path` a file (with both, the file is read as the card says), `hawkes` a
        process to simulate. `survival`: last intervals are served too. `longest`: events of a sequence at once, longer
        ones are cut; `places`: events and padding in a batch."""
        super().__init__()
        if card is None and path is None and hawkes is None:
            raise UsageError(
                "neither data.card nor data.path is set",
                "expected a data set or a file",
                "set data=retail, or data=events data.path=FILE",
            )
        self.name = str(own) if card is not None and (own := card_file(card)) else card
        self.path = None if path is None else str(absolute(path))
        self.simulated = None if hawkes is None else dict(hawkes)
        self.facts: dict[str, Any] = {
            "id": id, "time": time, "mark": mark, "labels": labels, "unit": unit, "grid": grid, "floor": floor,
            "twice": twice, "covariates": _words(covariates), "periods": _words(periods),
            "splits": None if splits is None else shares("data.splits", splits),
        }  # fmt: skip
        self.survival = survival
        self.batch_size = whole("data.batch_size", batch_size, 1, 64)
        self.longest = whole("data.longest", longest, 2, 2048)
        self.places = whole("data.places", places, 1, 1 << 16)
        self.seed = whole("data.seed", seed, 0, 1)
        self.prepared = False
        self.process = None

    def prepare(self) -> "EventModule":
        """Read, check, cut and code, once."""
        if self.prepared:
            return self
        notes: list[str] = []
        self.card, self.split = self._simulated() if self.simulated is not None else self._read(notes)
        with asked(self.facts["periods"] is not None):
            periods = periods_of(self.card.periods, self.card.unit)
        train = self.split.train
        self.extra = Extra.of(self.card.covariates, periods, train.events)
        grid = train.events.grid
        floor = 0.0 if grid else self.card.floor or _floor(train, notes)
        log_mean, log_std, levels = _logs(train, max(floor, grid / 2))
        marks = train.events.marks
        marks = labels_of(marks, self.card.labels) if self.card.labels else marks
        self.spec = EventSpec(
            marks, self.card.unit, grid, floor, log_mean, log_std, self.extra.names, self.card.labels is not None,
            most=float(_gaps(train).max()), longest=self.longest, levels=levels,
        )  # fmt: skip
        self.recipe = EventRecipe(self.card, self.spec, self.extra, train.events.origin is not None)
        self.gathers = {name: self.recipe.gather(self.part(name), longest=self.longest) for name in PARTS}
        self.findings = [*_findings(self.card, self.split, self.spec), *notes]
        self.prepared = True
        return self

    def _read(self, notes: list[str]) -> tuple[EventCard, EventSplit]:
        facts = {key: value for key, value in self.facts.items() if value is not None}
        if self.name is None:
            assert self.path is not None
            place = Path(self.path)
            bare = EventCard(place.stem, "events", "", "", "", (), None, "", None, "")
            frames, read = read_event_frames(bare, path=place, notes=notes)
            card = infer_event_card(frames[0][1], place.name, name=place.stem, **facts)
            notes.append(
                f"inferred: id={card.id or 'none'} time={card.time} mark={card.mark or 'none'} unit={card.unit}"
            )
        else:
            own = card_file(self.name)
            card = EventCard.from_dict({**load_event_card(self.name).to_dict(), **facts})
            frames, read = read_event_frames(card, path=self.path, folder=own and own.parent, notes=notes)
        read = digested(read)
        self.source = source_of(read)
        card = replace(card, files=tuple(replace(f, path=Path(f.path).name) for f in read) if self.path else card.files)
        tables = {where: read_events(frame, card.columns, where, notes=notes) for where, frame in frames}
        if card.by_files and self.path is None:
            if card.labels:
                raise DataError(
                    f"the card '{card.name}' has a file for each part, and labels",
                    "expected one file", "put the parts into one, and set data.splits to dates, fractions or ids",
                )  # fmt: skip
            return card, split_files(*(tables[card.splits[part]] for part in PARTS), notes=notes)
        if card.by_files:
            card = replace(card, splits={"train": 0.7, "val": 0.1, "test": 0.2})
        (events,) = tables.values()
        return card, split_events(events, card.splits, notes=notes, coded=card.labels is None)

    def _simulated(self) -> tuple[EventCard, EventSplit]:
        """A Hawkes process, three independent samples."""
        assert self.simulated is not None
        if odd := set(self.simulated) ^ set(SIMULATED):
            raise UsageError(f"data.hawkes has the key '{min(odd)}'", nearest(min(odd), SIMULATED), "name each once")
        of = self.simulated
        self.process = hawkes(of["base"], of["excite"], of["decay"])
        sizes = [whole("data.hawkes.sequences", n, 1, 500) for n in of["sequences"]]
        parts = [
            simulate(self.process, n, float(of["end"]), seed=[int(of["seed"]), i])
            for i, n in enumerate(sizes)
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self.source = {"path": "simulated", "sha256": digest, "rows": sum(len(p.events.time) for p in parts)}
        about = "simulated: a multivariate Hawkes process, whose exact likelihood is known"
        card = EventCard("hawkes", "events", about, "", "", (), "id", "time", "mark", "unit", grid=0.0)
        return card, EventSplit(*parts)

    def part(self, name: str) -> Part:
        """train, val or test."""
        if name not in PARTS:
            raise UsageError(f"there is no part '{name}'", nearest(name, PARTS))
        found: Part = getattr(self.split, name)
        return found

    def gather(self, part: str) -> EventGather:
        self.prepare()
        return self.gathers[part]

    @property
    def targets(self) -> float:
        """Scored events of a batch of training, on average."""
        return float(self.gather("train").targets.sum()) / max(1, len(self._loader("train", shuffle=True, alone=True)))

    def where(self, batch: EventBatch, most: int = 3) -> str:
        """Which sequences a batch holds, for people."""
        names = [f"'{self.split.train.events.ids[i]}'" for i in batch.sequence[:most].tolist()]
        left = len(batch.sequence) - most
        return f"sequences {', '.join(names)}" + (f" and {left} more" if left > 0 else "")

    def setup(self, stage: str | None = None) -> None:
        self.prepare()

    def train_dataloader(self) -> EventLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> EventLoader:
        return self._loader("val", shuffle=False)

    def _loader(self, part: str, *, shuffle: bool, alone: bool = False) -> EventLoader:
        lightning_loop = None if alone else self.trainer
        rank, world = (lightning_loop.global_rank, lightning_loop.world_size) if lightning_loop else (0, 1)
        return EventLoader(
            self.gather(part), self.batch_size, survival=self.survival and shuffle,
            seed=self.seed if shuffle else None, rank=rank, world=world, places=self.places,
            done=self._done if lightning_loop is not None and shuffle else None,
        )  # fmt: skip

    def _done(self, batches: int) -> tuple[int, int]:
        assert self.trainer is not None
        return served(self.trainer, batches)

    def state(self) -> dict[str, Any]:
        """Plain data with which `EventRecipe.from_state` treats another table as this one was treated."""
        self.prepare()
        return {**self.recipe.to_state(), "source": self.source}


def _words(given: Any) -> list[Any] | None:
    return None if given is None else list(given) if isinstance(given, list | tuple) else [given]


def _gaps(part: Part) -> Floats:
    """Gaps of the targets of a part."""
    return part.events.gaps(0.0)[part.target]


def _floor(train: Part, notes: list[str]) -> float:
    """The least gap that is scored where nothing says it: with gaps of 0, the smallest above it."""
    gaps = _gaps(train)
    if (gaps > 0).all():
        return 0.0
    if not (gaps > 0).any():
        raise DataError("all events of train are at the same time", "expected a gap above 0", "give other data")
    least = float(gaps[gaps > 0].min())
    notes.append(
        f"gaps of 0 are scored as {least:.3g}, the smallest above; set data.floor or data.grid to what is true"
    )
    return least


def _logs(train: Part, least: float) -> tuple[float, float, tuple[float, ...]]:
    """Mean and deviation of the log gaps of train, and their LEVELS quantiles once both are taken out."""
    logs = np.log(np.maximum(_gaps(train), least or 1e-9))
    mean, std = float(logs.mean()), float(logs.std()) or 1.0
    levels = np.quantile((logs - mean) / std, (np.arange(LEVELS) + 0.5) / LEVELS)
    return mean, std, tuple(levels.tolist())


def _findings(card: EventCard, split: EventSplit, spec: EventSpec) -> list[str]:
    """Lines for people: how much there is, of what kinds, and how far apart."""
    parts = list(zip(PARTS, split, strict=True))
    sequences = ", ".join(f"{len(part.events.ids):,} {name}" for name, part in parts)
    scored = ", ".join(f"{int(part.target.sum()):,} {name}" for name, part in parts)
    train = split.train.events
    gaps = _gaps(split.train)
    kinds = f"{len(spec.marks):,} {'labels' if spec.labels else 'marks'}" if len(spec.marks) > 1 else "no marks"
    recorded = f"on a grid of {spec.grid:.6g}" if spec.grid else f"floored at {spec.floor:.3g}" if spec.floor else ""
    return [
        f"{card.name}: {sequences} sequences, {kinds}, longest {int(train.counts.max()):,} events",
        f"events to forecast: {scored}",
        f"gaps in {card.unit}s: median {np.median(gaps):.4g}, mean {gaps.mean():.4g}"
        + (f", {100 * float((gaps == 0).mean()):.1f} % zero" if (gaps == 0).any() else "")
        + (f", {recorded}" if recorded else ""),
    ]
