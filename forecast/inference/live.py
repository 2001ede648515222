"""A run that is streamed: one state of fixed size for each series, updated a step at a time, a forecast after each.

    live = Live.load("latest")
    live.push("meter 7", "2015-01-01 00:00", {"load": 1234.0})      -> Forecasts, for the next H steps
    live.push_many(frame)                                           -> one forecast for each series of the frame

What a stream equals is one scan from its first step on: any split into pushes gives the same forecasts. States are rows
of tensors, so that a push of many series is a few calls whatever their number.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast.artifacts import WEIGHTS, Run, atomic, find, sha256
from forecast.data.clock import clock, to_utc, to_wall
from forecast.data.freq import Ints, Stamps, parse_freq
from forecast.data.scale import Scaler
from forecast.data.stamps import parse_names, parse_numbers, parse_stamps
from forecast.data.table import stamp
from forecast.errors import ArtifactError, DataError
from forecast.heads.stream import Stream, Streamed
from forecast.inference.bounds import Bounds
from forecast.inference.predictor import Predictor, column
from forecast.models.base import leaves, rebuilt
from forecast.where import RUNS

FEWEST: Final = 16  # series there is room for at first; room doubles
NEVER: Final = int(np.iinfo(np.int64).min)  # the last step of a series that has not begun
LONGEST: Final = 10_000  # steps in a gap: beyond it a stamp is taken for wrong
NUMBERS: Final = 1 << 22  # values scanned at once


class Forecasts(NamedTuple):
    """What `push` gives, in original units: B series, H steps, T targets, N levels."""

    ids: list[str]  # B
    cutoff: Stamps  # (B,) UTC, the last step that was seen
    ds: Stamps  # (B, H) UTC
    y_hat: np.ndarray  # (B, H, T) float64
    quantiles: np.ndarray  # (B, H, T, N) float64
    levels: tuple[float, ...]  # N
    channels: tuple[str, ...]  # T

    def frame(self) -> pl.DataFrame:
        """unique_id, channel, cutoff, ds, step, y_hat and a column for each quantile, as `predict` gives it."""
        b, h, t = self.y_hat.shape
        order = {"y_hat": self.y_hat, **{column(p): self.quantiles[..., i] for i, p in enumerate(self.levels)}}
        return pl.DataFrame({
            "unique_id": np.repeat(np.array(self.ids, dtype=object), h * t).astype(str),
            "channel": np.tile(np.array(self.channels), b * h),
            "cutoff": np.repeat(self.cutoff, h * t), "ds": np.repeat(self.ds.reshape(-1), t),
            "step": np.tile(np.repeat(np.arange(1, h + 1, dtype=np.int32), t), b),
            **{key: value.reshape(-1) for key, value in order.items()},
        })  # fmt: skip


class Rows(NamedTuple):
    """The new steps of B series, laid out side by side: l of them at most."""

    slots: Ints  # (B,) longest first
    length: Ints  # (B,)
    time: Stamps  # (B, l) UTC
    values: np.ndarray  # (B, l, C), NaN where nothing was observed


class Told(NamedTuple):
    """What is kept of B series behind their new steps."""

    step: Ints  # (B,) the last step, counted from 1970
    rest: Ints  # (B,) microseconds of its stamp beyond the step
    value: np.ndarray  # (B, C) the last observed values


class Live:
    """States of any number of series under one trained chain. UsageError where the chain cannot stream."""

    tensors: list[Tensor]  # of all states, each with a row for a series
    step: Ints  # (S,) the last step of each, or NEVER
    rest: Ints  # (S,) microseconds of its stamp beyond the step
    value: np.ndarray  # (S, C) the last that was observed, for gaps=fill
    mean: np.ndarray  # (S, C) what values are scaled by
    std: np.ndarray  # (S, C)

    def __init__(self, predictor: Predictor, weights: str, *, levels: tuple[float, ...] | None = None) -> None:
        """`weights` is the digest of the run's weights, which a snapshot must fit; `levels` as in `predict`."""
        self.predictor, self.weights, self.recipe = predictor, weights, predictor.recipe
        self.spec, self.card = self.recipe.spec, self.recipe.card
        self.levels = tuple(predictor.asked(None if levels is None else list(levels)))
        self.stream = Stream(predictor.chain, len(self.spec.channels)).eval()
        self.freq = parse_freq(self.spec.freq)
        self.blank = self.stream.start(1)
        self.slots: dict[str, int] = {}
        self.names: list[str] = []
        self.known = {name: i for i, name in enumerate(self.recipe.scaler.ids)}
        self.late = 0  # rows that came after a later one of their series, and were left out
        self._make_room(FEWEST)

    @classmethod
    def load(
        cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS, levels: tuple[float, ...] | None = None
    ) -> "Live":
        """From a finished run: a path, an id, or `latest`."""
        run = run if isinstance(run, Run) else find(str(run), runs)
        return cls(Predictor.load(run), sha256(run.checked(WEIGHTS)), levels=levels)

    def push(self, id: str, time: Any, values: Mapping[str, float]) -> Forecasts:
        """One step of one series; a channel that is left out was not observed."""
        names = {c.name: c.source for c in self.card.channels}
        row = {names[c]: [values.get(c)] for c in self.spec.channels}
        own = {self.card.id: [id]} if self.card.id else {}
        return self.push_many(pl.DataFrame({**own, self.card.time.column: [time], **row}))

    @torch.inference_mode()
    def push_many(self, frame: pl.DataFrame) -> Forecasts:
        """Rows of any series, with the columns of the training data -> a forecast for each series that went on.

        Steps left out between two rows are gaps, treated as in training: an error, filled, or masked. A row that is not
        later than the last of its series is left out and counted in `late`. DataError leaves every state as it was.
        """
        rows, told, late = self._laid_out(frame)
        state = self._gathered(rows.slots)
        edges = np.unique(rows.length)
        for first, until in zip([0, *edges[:-1].tolist()], edges.tolist(), strict=True):
            some = int((rows.length >= until).sum())
            part = self._scan(state, some, rows, first, until)
            state = cast(Streamed, rebuilt(self.blank, iter([
                torch.cat([new, old[some:]]) for new, old in zip(leaves(part), leaves(state), strict=True)
            ])))  # fmt: skip
        for kept, new in zip(self.tensors, leaves(state), strict=True):
            kept[torch.from_numpy(rows.slots)] = new
        self.step[rows.slots], self.rest[rows.slots], self.value[rows.slots] = told
        self.late += late
        ends = rows.time[np.arange(len(rows.slots)), rows.length - 1]
        return self._forecast(rows.slots, state, ends)

    def reset(self, id: str) -> None:
        """Forget a series; it begins anew with its next row."""
        slot = self.slots.get(id)
        if slot is not None:
            for kept, new in zip(self.tensors, leaves(self.blank), strict=True):
                kept[slot] = new[0]
            self.step[slot], self.rest[slot], self.value[slot] = NEVER, 0, np.nan

    def snapshot(self, path: str | Path) -> None:
        """All states into a file, whole or not at all."""
        from safetensors.torch import save

        count, own = len(self.slots), (self.step, self.rest, self.value)
        tensors = {f"state.{i}": tensor[:count].contiguous() for i, tensor in enumerate(self.tensors)}
        tensors |= {f"own.{i}": torch.from_numpy(part[:count].copy()) for i, part in enumerate(own)}
        names = pl.Series(self.names, dtype=pl.String).to_frame("id").write_json()
        with atomic(Path(path)) as temporary:
            temporary.write_bytes(save(tensors, {"weights": self.weights, "ids": names, "late": str(self.late)}))

    def restore(self, path: str | Path) -> None:
        """The states of a snapshot in place of all there are. ArtifactError unless it is of the same weights."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("weights") != self.weights:
                    raise ArtifactError(
                        f"{path} is a snapshot under other weights", "expected one of the same run", "start anew"
                    )
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                ids = pl.read_json(told["ids"].encode())["id"].to_list() if told["ids"] != "[]" else []
        except (SafetensorError, OSError, KeyError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(f"{path} is no snapshot: {error}", do="start anew") from error
        self.slots, self.names = {}, []
        self._make_room(FEWEST)
        self._slot(ids)
        for i, tensor in enumerate(self.tensors):
            tensor[: len(ids)] = found[f"state.{i}"]
        for i, part in enumerate((self.step, self.rest, self.value)):
            part[: len(ids)] = found[f"own.{i}"].numpy()
        self.late = int(told["late"])

    # Rows of states ------------------------------------------------------------------------------------------

    def _make_room(self, count: int) -> None:
        """Fresh states for `count` series; those there are stay."""
        kept = getattr(self, "tensors", [])
        used = min(count, len(self.names))
        grown = [leaf.expand(count, *leaf.shape[1:]).clone() for leaf in leaves(self.blank)]
        step, rest = np.full(count, NEVER), np.zeros(count, np.int64)
        value = np.full((count, len(self.spec.channels)), np.nan)  # the last that was observed, for gaps=fill
        sizes = np.zeros_like(value), np.ones_like(value)  # what values are scaled by
        if kept:
            for new, old in zip(grown, kept, strict=True):
                new[: min(used, len(old))] = old[: min(used, len(old))]
            for new_part, old_part in (
                (step, self.step),
                (rest, self.rest),
                (value, self.value),
                *zip(sizes, (self.mean, self.std), strict=True),
            ):
                n = min(used, len(old_part))
                new_part[:n] = old_part[:n]
        self.tensors, self.step, self.rest, self.value = grown, step, rest, value
        self.mean, self.std = sizes

    def _slot(self, names: list[str]) -> Ints:
        new = [name for name in names if name not in self.slots]
        self.slots.update({name: len(self.names) + i for i, name in enumerate(new)})
        self.names += new
        if len(self.names) > len(self.step):
            self._make_room(2 * len(self.names))
        if new:
            own, at = self.recipe.scaler, np.array([self.known.get(name, -1) for name in new])
            rows = slice(len(self.names) - len(new), len(self.names))
            for kept, part in ((self.mean, own.mean), (self.std, own.std)):
                kept[rows] = np.where((at >= 0)[:, None], part[at], part.mean(axis=0))
        return np.array([self.slots[name] for name in names], dtype=np.int64)

    def _gathered(self, slots: Ints) -> Streamed:
        at = torch.from_numpy(slots)
        return cast(Streamed, rebuilt(self.blank, iter([tensor[at] for tensor in self.tensors])))

    # From rows to steps --------------------------------------------------------------------------------------

    def _read(self, frame: pl.DataFrame) -> tuple[list[str], Ints, Stamps, np.ndarray]:
        """Names of series, (N,) numbers of them, (N,) UTC stamps, (N, C) values, in order of series and time."""
        where, time = "the rows", self.card.time.column
        sources = {c.name: c.source for c in self.card.channels}
        wanted = [time, *([self.card.id] if self.card.id else []), *(sources[c] for c in self.spec.channels)]
        if lost := [name for name in wanted if name not in frame.columns]:
            raise DataError(f"{where} have no column '{lost[0]}'", f"expected {', '.join(wanted)}")
        if self.card.id:
            names = parse_names(frame[self.card.id], where)
        else:
            names = pl.repeat(self.recipe.scaler.ids[0], frame.height, dtype=pl.String, eager=True)
        unique = names.unique(maintain_order=True)
        number = names.cast(pl.Enum(unique)).to_physical().to_numpy().astype(np.int64)
        wall, aware = parse_stamps(frame[time], where)
        stamps = wall if aware else to_utc(wall, self.card.time.zone, number)
        values = [parse_numbers(frame[sources[c]], self.card.missing, where) for c in self.spec.channels]
        order = np.lexsort((stamps, number))
        return unique.to_list(), number[order], stamps[order], np.column_stack(values)[order]

    def _laid_out(self, frame: pl.DataFrame) -> tuple[Rows, Told, int]:
        """The steps to run, what is to be kept of each series behind them, and how many rows came late."""
        if not frame.height:
            raise DataError("there are no rows", "expected at least one")
        names, number, time, values = self._read(frame)
        slots = self._slot(names)
        ordinal, rest = self.freq.ordinals(to_wall(time, self.card.time.zone) if self.freq.wall else time)
        step = ordinal // self.freq.step
        first = np.concatenate([[True], number[1:] != number[:-1]])
        begun = self.step[slots]
        known = np.where(begun != NEVER, self.rest[slots], rest[first])
        odd = (rest != known[number]) | (rest < 0)
        if odd.any():
            at = int(odd.argmax())
            raise DataError(
                f"series '{names[number[at]]}' has a row at {stamp(time[at])}", f"expected a step of {self.spec.freq}"
            )
        before = np.where(first, begun[number], np.concatenate([[NEVER], step[:-1]]))
        good = step > np.maximum(before, begun[number])
        late, number, time, values, step = int((~good).sum()), number[good], time[good], values[good], step[good]
        if not len(step):
            raise DataError(f"all {late:,} rows are late", "expected a step after the last one of a series")
        return *self._steps(names, slots, number, time, values, step, known), late

    def _steps(
        self, names: list[str], slots: Ints, number: Ints, time: Stamps, values: np.ndarray, step: Ints, rest: Ints
    ) -> tuple[Rows, Told]:
        some, start, count = np.unique(number, return_index=True, return_counts=True)
        ends = start + count - 1
        begun = np.where(self.step[slots[some]] != NEVER, self.step[slots[some]], step[start] - 1)
        length = step[ends] - begun
        if (length > LONGEST + count).any():
            at = int((length - count).argmax())
            raise DataError(
                f"series '{names[some[at]]}' jumps {length[at] - count[at]:,} steps to {stamp(time[ends[at]])}",
                f"expected a gap of at most {LONGEST:,}", "correct the stamp, or reset the series",
            )  # fmt: skip
        order = np.argsort(-length, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        row = place[np.searchsorted(some, number)]
        wide = np.full((len(some), int(length.max()), values.shape[1]), np.nan)
        wide[row, step - begun[np.searchsorted(some, number)] - 1] = values
        length, begun, slot = length[order], begun[order], slots[some][order]
        self._filled(names, some[order], wide, length, slot)
        ordinals = (begun[:, None] + 1 + np.arange(wide.shape[1])) * self.freq.step
        stamps = self.freq.stamps(ordinals.reshape(-1), np.repeat(rest[some][order], wide.shape[1]))
        stamps = to_utc(stamps, self.card.time.zone, shift=True) if self.freq.wall else stamps
        told = Told(begun + length, rest[some][order], self._last(wide, length, slot))
        return Rows(slot, length, stamps.reshape(wide.shape[:2]), wide), told

    def _last(self, values: np.ndarray, length: Ints, slots: Ints) -> np.ndarray:
        """(B, C) the last observed value of each series and channel."""
        steps = np.arange(values.shape[1])[:, None]
        at = np.where(~np.isnan(values) & (steps < length[:, None, None]), steps, -1).max(axis=1)  # (B, C)
        found = np.take_along_axis(values, np.maximum(at, 0)[:, None], axis=1)[:, 0]
        return np.where(at >= 0, found, self.value[slots])

    def _filled(self, names: list[str], who: Ints, values: np.ndarray, length: Ints, slots: Ints) -> None:
        """Gaps as in training: refused, filled with the last value, or left."""
        inside = np.arange(values.shape[1]) < length[:, None]
        missing = np.isnan(values).any(axis=2) & inside
        if self.recipe.gaps == "error" and missing.any():
            at = int(missing.any(axis=1).argmax())
            raise DataError(
                f"series '{names[who[at]]}' has a gap", "expected a value at every step",
                "train with data.gaps=fill or data.gaps=mask",
            )  # fmt: skip
        if self.recipe.gaps == "fill":
            for i in range(values.shape[1]):
                old = values[:, i - 1] if i else self.value[slots]
                values[:, i] = np.where(np.isnan(values[:, i]), old, values[:, i])

    # From steps to forecasts ---------------------------------------------------------------------------------

    def _scaler(self, slots: Ints) -> Scaler:
        """The statistics of series; of one that was not in training, the mean of all."""
        return Scaler(tuple(self.names[slot] for slot in slots), self.mean[slots], self.std[slots])

    def _scan(self, state: Streamed, some: int, rows: Rows, first: int, until: int) -> Streamed:
        """Steps first … until - 1 of the first `some` series."""
        state = cast(Streamed, rebuilt(self.blank, iter([leaf[:some] for leaf in leaves(state)])))
        scaler, number = self._scaler(rows.slots[:some]), np.arange(some)
        block = max(1, NUMBERS // max(1, some * rows.values.shape[2]))
        for a in range(first, until, block):
            b = min(a + block, until)
            scaled = (rows.values[:some, a:b] - scaler.mean[number][:, None]) / scaler.std[number][:, None]
            past = torch.from_numpy(scaled.astype(np.float32))
            seen = None if self.recipe.gaps == "error" else ~past.isnan()
            calendar = self._clock(rows.time[:some, a:b])
            state = self.stream.scan(state, past.nan_to_num(0.0), seen, calendar)
        return state

    def _clock(self, time: Stamps) -> Tensor:
        """(B, l) UTC stamps -> (B, l, F); each stamp is looked up once."""
        each, back = np.unique(time.reshape(-1), return_inverse=True)
        days = self.recipe.holidays
        if days is not None:
            wall = to_wall(each, self.card.time.zone).astype("datetime64[D]")
            days = days.covering(wall.min(), wall.max())
        found = clock(each, self.spec.clock, self.card.time.zone, days)
        return torch.from_numpy(found[back].reshape(*time.shape, -1))

    def _forecast(self, slots: Ints, state: Streamed, cutoff: Stamps) -> Forecasts:
        horizon, targets, output = self.spec.horizon, self.spec.targets, self.predictor.chain.output
        ordinal = (self.step[slots][:, None] + 1 + np.arange(horizon)) * self.freq.step
        stamps = self.freq.stamps(ordinal.reshape(-1), np.repeat(self.rest[slots], horizon))
        ds = (to_utc(stamps, self.card.time.zone, shift=True) if self.freq.wall else stamps).reshape(ordinal.shape)
        made = self.stream.made(state, self._clock(ds))
        scaler, number = self._scaler(slots), np.arange(len(slots))
        clip = Bounds.of(*self.predictor.bounds, scaler, targets)
        numbers = torch.from_numpy(number)
        point = clip(output.point(made), numbers).numpy()
        quantiles = np.empty((*point.shape, 0))
        if self.levels:
            levels = torch.tensor(self.levels)
            scores = output.own(made, levels)
            if self.predictor.calibration is not None:
                place = torch.from_numpy((self.step[slots][:, None] + 1 + np.arange(horizon)) % self.spec.season)
                scores = self.predictor.calibration.scores(levels, place)
            assert scores is not None
            wide = clip(output.value(made, scores), numbers).numpy()
            parts = [scaler.undo(wide[..., i], number, targets) for i in range(len(self.levels))]
            quantiles = np.stack(parts, axis=-1)
        return Forecasts(
            [self.names[slot] for slot in slots], cutoff, ds, scaler.undo(point, number, targets), quantiles,
            self.levels, self.spec.channels[:targets],
        )  # fmt: skip
