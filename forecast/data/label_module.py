"""The labelled series of a run for Lightning: read, cut, scaled, and served as whole batches."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytorch_lightning as lightning

from forecast.data.card import LABELLED, card_file
from forecast.data.label_batch import LabelGather, LabelLoader
from forecast.data.label_card import SPLITS, LabelCard, infer_label_card, load_label_card, read_label_frames
from forecast.data.label_recipe import SCALES, LabelRecipe, LabelScale
from forecast.data.label_split import VAL, cut, split_labelled, unlabelled
from forecast.data.labelled import Labelled, joined, read_labelled, recoded
from forecast.data.loader import served
from forecast.data.read import absolute, digested, source_of
from forecast.data.settings import asked, numbers, shares, whole
from forecast.data.stamps import is_stamps
from forecast.errors import DataError, UsageError, nearest
from forecast.types import LabelBatch, LabelSpec

PARTS: Final = ("train", "val", "test", "fit")
NONE: Final = np.zeros(0, np.int64)


class LabelModule(lightning.LightningDataModule):
    """Labelled series from a card or a file. `prepare` makes all but the loaders.

    The parts are train, val and test, and fit: train and val together, on which a refit trains (see `refit`).
    """

    card: LabelCard
    parts: dict[str, Labelled]
    spec: LabelSpec
    recipe: LabelRecipe
    stamps: bool = False  # whether times are stamps, not numbers
    findings: list[str]  # for people: what was read and inferred
    source: dict[str, Any]  # what was read: absolute path, sha256, rows

    def __init__(
        self, *, card: str | None = None, path: str | None = None, test: str | None = None, id: str | None = None,
        time: str | None = None, label: str | None = None, channels: str | Sequence[str] | None = None,
        missing: Any = None, splits: Mapping[str, Any] | None = None, val: float = VAL, scale: str = "standard",
        batch_size: int = 64, places: int = 1 << 16, seed: int = 1,
    ) -> None:  # fmt: skip
        """`card` names a known data set, `path` a file (with both, the file is read as the card says); `test` a second
        file, which holds the test part where `path` holds the rest. `val`: share of the training series that validate,
        where the splits name no validation of their own. `scale`: standard or none. `places`: steps and padding in a
        batch."""
        super().__init__()
        if card is None and path is None:
            raise UsageError(
                "neither data.card nor data.path is set",
                "expected a data set or a file",
                "set data=japanese_vowels, or data=labelled data.path=FILE",
            )
        if test is not None and (path is None or splits is not None):
            what = "data.splits" if splits is not None else "no data.path"
            raise UsageError(f"data.test is set with {what}", "expected two files: data.path and data.test", "drop one")
        self.name = str(own) if card is not None and (own := card_file(card)) else card
        self.path = None if path is None else str(absolute(path))
        self.test = None if test is None else str(absolute(test))
        names = [channels] if isinstance(channels, str) else channels
        self.facts: dict[str, Any] = {
            "id": id, "time": time, "label": label, "channels": None if names is None else list(names),
            "missing": None if missing is None else list(numbers("data.missing", missing)),
            "splits": None if splits is None else shares("data.splits", splits),
        }  # fmt: skip
        if isinstance(val, bool) or not isinstance(val, int | float) or not 0 <= val < 1:
            raise UsageError(f"data.val is {val}", "expected a share of the training series", "set data.val=0.2")
        if scale not in SCALES:
            raise UsageError(f"data.scale is '{scale}'", nearest(scale, SCALES), "set data.scale=standard")
        self.val, self.scale = float(val), scale
        self.batch_size = whole("data.batch_size", batch_size, 1, 64)
        self.places = whole("data.places", places, 1, 1 << 16)
        self.seed = whole("data.seed", seed, 0, 1)
        self.prepared = False

    @classmethod
    def of(cls, parts: Mapping[str, Labelled], *, name: str = "table", **words: Any) -> "LabelModule":
        """Of series in memory: train, and maybe val and test; `words` as of the class."""
        made = cls(card=name, **words)
        made.name = name
        made.source = {"path": "memory", "sha256": "", "rows": sum(len(part.values) for part in parts.values())}
        channels = parts["train"].channels
        made.card = LabelCard(name, LABELLED, "", "", "", (), channels=channels)
        made._settle(dict(parts), [])
        return made

    def prepare(self) -> "LabelModule":
        """Read, check, cut and scale, once."""
        if not self.prepared:
            notes: list[str] = []
            self.card, parts = self._read(notes)
            self._settle(parts, notes)
        return self

    def refit(self) -> "LabelModule":
        """A sibling that trains on train and val together, scaled as here; its val is the same."""
        self.prepare()
        sibling = copy.copy(self)
        sibling.trainer = None
        sibling._settle({**self.parts, "train": self.parts["fit"]}, [], refit=True)
        return sibling

    def _settle(self, parts: dict[str, Labelled], notes: list[str], *, refit: bool = False) -> None:
        """Validation, the facts, the scale and the batches of parts that were read."""
        train = parts["train"]
        _check(parts)
        if not refit:
            if "val" in parts:
                parts["fit"] = joined(train, parts["val"])
            else:
                parts |= {**_validation(train, self.val, self.seed), "fit": train}
            parts.setdefault("test", train.take(NONE))
        self.parts = {name: parts[name] for name in PARTS}
        fit = parts["fit"]
        units = self.card.units or ("",) * len(fit.channels)
        self.spec = LabelSpec(
            fit.channels, units, fit.classes, int(fit.lengths.max()), int(fit.lengths.min()),
            bool(np.isnan(fit.values).any()),
        )  # fmt: skip
        if not refit:  # what learns again forecasts under the record of the first training
            self.recipe = LabelRecipe(self.card, self.spec, LabelScale.of(self.parts["train"], self.scale), self.stamps)
        self.gathers = {name: self.recipe.gather(part) for name, part in self.parts.items()}
        self.findings = [*_findings(self.card, self.parts), *notes]
        self.prepared = True

    def _read(self, notes: list[str]) -> tuple[LabelCard, dict[str, Labelled]]:
        facts = {key: value for key, value in self.facts.items() if value is not None}
        if self.name is None:
            assert self.path is not None
            place = Path(self.path)
            bare = LabelCard(place.stem, LABELLED, "", "", "", ())
            frames, read = read_label_frames(bare, path=place, notes=notes)
            card = infer_label_card(frames[0][1], place.name, name=place.stem, notes=notes, **facts)
        else:
            own = card_file(self.name)
            card = LabelCard.from_dict({**load_label_card(self.name).to_dict(), **facts})
            frames, read = read_label_frames(card, path=self.path, folder=own and own.parent, notes=notes)
        if self.test is not None:
            more, also = read_label_frames(card, path=self.test, notes=notes)
            frames, read = [*frames, *more], [*read, *also]
        read = digested(read)
        self.source = source_of(read)
        if self.path is not None:
            paths = [Path(file.path).name for file in read]
            paths = paths if len(set(paths)) == len(paths) else [f"{i}/{name}" for i, name in enumerate(paths)]
            splits = dict(zip(("train", "test"), paths, strict=True)) if self.test else card.splits
            splits = dict(SPLITS) if not self.test and card.by_files else splits
            files = tuple(replace(file, path=path) for file, path in zip(read, paths, strict=True))
            card = replace(card, files=files, splits=splits)
            frames = [(path, frame) for path, (_, frame) in zip(paths, frames, strict=True)]
        first = frames[0][1]
        columns = card.columns(first.columns)
        self.stamps = card.time is not None and card.time in first.columns and is_stamps(first[card.time])
        tables = {where: read_labelled(frame, columns, where, notes=notes) for where, frame in frames}
        if card.by_files:
            return card, {part: tables[path] for part, path in card.splits.items()}
        (whole_table,) = tables.values()
        with asked("splits" in facts):
            return card, split_labelled(whole_table, card.splits, self.seed)

    def part(self, name: str) -> Labelled:
        """train, val, test or fit."""
        if name not in PARTS:
            raise UsageError(f"there is no part '{name}'", nearest(name, PARTS))
        self.prepare()
        return self.parts[name]

    def gather(self, part: str) -> LabelGather:
        self.part(part)
        return self.gathers[part]

    def counts(self, part: str) -> Any:
        """(K,) series of each class."""
        return self.part(part).counts

    def where(self, batch: LabelBatch, most: int = 3) -> str:
        """Which series of train a batch holds, for people."""
        names = [f"'{self.parts['train'].ids[i]}'" for i in batch.series[:most].tolist()]
        left = len(batch.series) - most
        return f"series {', '.join(names)}" + (f" and {left} more" if left > 0 else "")

    def setup(self, stage: str | None = None) -> None:
        self.prepare()

    def train_dataloader(self) -> LabelLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> LabelLoader:
        return self._loader("val", shuffle=False)

    def _loader(self, part: str, *, shuffle: bool) -> LabelLoader:
        loop = self.trainer
        rank, world = (loop.global_rank, loop.world_size) if loop else (0, 1)
        return LabelLoader(
            self.gather(part), self.batch_size, seed=self.seed if shuffle else None, rank=rank, world=world,
            places=self.places, done=self._done if loop is not None and shuffle else None,
        )  # fmt: skip

    def _done(self, batches: int) -> tuple[int, int]:
        assert self.trainer is not None
        return served(self.trainer, batches)

    def state(self) -> dict[str, Any]:
        """Plain data with which `LabelRecipe.from_state` treats another table as this one was treated."""
        self.prepare()
        return {**self.recipe.to_state(), "source": self.source}


def _check(parts: dict[str, Labelled]) -> None:
    """A label for each series, two classes at least, and no class that the training does not have."""
    for name, part in parts.items():
        if (part.label < 0).any():
            raise unlabelled(part, name)
    train = parts["train"]
    there = tuple(name for name, count in zip(train.classes, train.counts, strict=True) if count)
    if len(there) < 2:
        raise DataError(
            f"train: all {len(train):,} series are of the class '{there[0]}'" if there else "train has no series",
            "expected two classes at least",
            "name another column of labels, or give other data",
        )
    for name, part in parts.items():
        parts[name] = recoded(part, there, name)


def _validation(train: Labelled, share: float, seed: int) -> dict[str, Labelled]:
    """train and val; DataError where no class can give a series."""
    found = cut(train, share, seed)
    if share and not len(found["val"]):
        raise DataError(
            f"train has one series of each of its {len(train.classes):,} classes, and none to validate",
            "expected a class of two series or more",
            "give more series of a class",
        )
    return found


def _findings(card: LabelCard, parts: dict[str, Labelled]) -> list[str]:
    """Lines for people: how much there is, of which classes, how long, and what is missing."""
    fit, three = parts["fit"], [(name, parts[name]) for name in PARTS[:3]]
    series = ", ".join(f"{len(part):,} {name}" for name, part in three)
    lengths = np.concatenate([part.lengths for _, part in three])
    low, high = int(lengths.min()), int(lengths.max())
    steps = f"{low:,} to {high:,} steps" if low < high else f"{high:,} steps"
    count = len(fit.channels)
    lost = np.mean(np.isnan(np.concatenate([part.values for _, part in three])))
    few, many = int(fit.counts.argmin()), int(fit.counts.argmax())
    of = f"{fit.counts[few]:,} ('{fit.classes[few]}') to {fit.counts[many]:,} ('{fit.classes[many]}')"
    return [
        f"{card.name}: {series} series, {count:,} channel{'s' if count > 1 else ''}, {steps}",
        f"{len(fit.classes):,} classes; "
        + (f"series of each in train and val: {of}" if few != many else f"{fit.counts[few]:,} series of each"),
        *([f"{lost:.2%} of the values are missing"] if lost else []),
    ]
