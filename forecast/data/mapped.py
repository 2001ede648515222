"""Series that lie in files: their times by arithmetic, their values from a map of the file, their batches like any.

A series is regular, so that its stamps need no memory: the first one and the step say them all. Calendar fields are
looked up in a table of the calendar, which all series share, and values are scaled in the batch, as Gather scales the
table: the same numbers, to the bit.
"""

import mmap
import os
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.batch import Gather
from forecast.data.clock import clock, to_utc, to_wall
from forecast.data.freq import Ints, Stamps, parse_freq
from forecast.data.holidays import FIELDS as HOLIDAY_FIELDS
from forecast.data.holidays import Holidays
from forecast.data.panel import NO_HOLIDAY
from forecast.data.table import Floats
from forecast.types import SeriesBatch

RESIDENT: Final = 256 << 20  # bytes gathered before the pages that they were on are given back
CALENDAR: Final = 1 << 23  # rows of the calendar; beyond it, the fields are worked out for each batch


def stamps_at(first: Stamps, position: Ints, freq: str, zone: str | None) -> Stamps:
    """(K,) the UTC stamps `position` steps after UTC stamps `first`, both (K,). As `steps_after`, but each on its own:
    of an hour that a clock shows twice always the first."""
    step = parse_freq(freq)
    ordinal, rest = step.ordinals(to_wall(first, zone) if step.wall else first)
    stamps = step.stamps(ordinal + position * step.step, rest)
    return _utc(stamps, zone) if step.wall else stamps


def _utc(wall: Stamps, zone: str | None) -> Stamps:
    if zone is None:
        return wall
    each, at = np.unique(wall, return_inverse=True)
    return to_utc(each, zone, shift=True)[at]


class Times:
    """(N,) UTC stamps of rows, indexed as an array is; `lack` rows stand before the first stamp of each series."""

    def __init__(
        self, first: Stamps, start: Ints, lack: int, freq: str, zone: str | None,
        odd: tuple[Ints, Stamps] | None = None,
    ) -> None:  # fmt: skip
        """`first` (S,), `start` (S+1,); `odd`: rows, rising, and their stamps, where these are not what is expected."""
        self.first, self.start, self.lack, self.freq, self.zone, self.odd = first, start, lack, freq, zone, odd

    def __len__(self) -> int:
        return int(self.start[-1])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        asked = np.asarray(rows)
        return self.at(asked.reshape(-1)).reshape(asked.shape)[()]

    def at(self, rows: Ints) -> Stamps:
        number = np.searchsorted(self.start, rows, side="right") - 1
        found = stamps_at(self.first[number], rows - self.start[number] - self.lack, self.freq, self.zone)
        if self.odd is not None:
            place = np.minimum(np.searchsorted(self.odd[0], rows), len(self.odd[0]) - 1)
            hit = self.odd[0][place] == rows
            found[hit] = self.odd[1][place[hit]]
        return found

    def min(self) -> np.datetime64:
        return self.first.min()

    def max(self) -> np.datetime64:
        return self.at(self.start[1:] - 1).max()

    def before(self, border: np.datetime64) -> Ints:
        """(S,) rows of each series whose stamps are before `border`, by bisection; of series without `lack`."""
        low, high = np.zeros(len(self.first), np.int64), np.diff(self.start)
        while (low < high).any():
            middle = (low + high) // 2
            earlier = (low < high) & (self.at(np.minimum(self.start[:-1] + middle, len(self) - 1)) < border)
            low, high = np.where(earlier, middle + 1, low), np.where(earlier | (low >= high), high, middle)
        return low


class Rows:
    """(N, C) numbers in a file. Rows are read by `read`, windows of rows by `windows`, from a map of the file."""

    def __init__(self, path: Path, width: int, dtype: str) -> None:
        self.path, self.width, self.dtype = path, width, np.dtype(dtype)
        self.size = self.width * self.dtype.itemsize
        self.count = os.path.getsize(path) // self.size
        self.file: mmap.mmap | None = None
        self.flat = torch.empty(0)
        self.touched = 0

    def __len__(self) -> int:
        return self.count

    def __getstate__(self) -> dict[str, Any]:  # another process maps the file itself
        return {**self.__dict__, "file": None, "flat": torch.empty(0), "touched": 0}

    def read(self, first: int, last: int) -> Floats:
        """Rows first … last - 1, (n, C) float64."""
        found = np.fromfile(self.path, self.dtype, (last - first) * self.width, offset=first * self.size)
        return found.reshape(-1, self.width).astype(np.float64)

    def windows(self, first: Tensor, length: int) -> Tensor:
        """(B,) first rows → (B, length, C) as they are in the file."""
        flat = self._mapped()
        piece = length * self.width
        view = flat.as_strided((max(self.count - length + 1, 0), piece), (self.width, 1))
        self.touched += len(first) * max(piece * self.dtype.itemsize, mmap.PAGESIZE)
        return view.index_select(0, first).view(len(first), length, self.width)

    def _mapped(self) -> Tensor:
        if self.file is None:
            with open(self.path, "rb") as file:
                self.file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            _advise(self.file, "MADV_RANDOM")  # windows lie anywhere: what is beside one is not wanted
            with warnings.catch_warnings():  # the map cannot be written to, and nothing here does
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                self.flat = torch.from_numpy(np.frombuffer(self.file, self.dtype))
        if self.touched > RESIDENT:  # pages stay in the system's cache, and are no longer counted as ours
            _advise(self.file, "MADV_DONTNEED")
            self.touched = 0
        return self.flat


def _advise(file: mmap.mmap, word: str) -> None:
    if hasattr(mmap, word):  # not on every system
        file.madvise(getattr(mmap, word))


class Calendar(NamedTuple):
    """Calendar fields of every step that a series may have; `base` (S,) is where the first row of each stands."""

    fields: Tensor  # (K, F)
    base: Tensor

    @classmethod
    def of(
        cls, times: Times, steps: Ints, names: tuple[str, ...], holidays: Holidays | None, first: np.datetime64
    ) -> "Calendar | None":
        """For series of `steps` (S,) rows; None where it would be too large, since their clocks differ too much.
        `first`: the first stamp of all; no holidays are looked up before it."""
        step = parse_freq(times.freq)
        ordinal, rest = step.ordinals(to_wall(times.first, times.zone) if step.wall else times.first)
        place, phase = np.divmod(ordinal, step.step)
        place = place - times.lack
        kinds, kind = np.unique(np.stack([phase, rest]), axis=1, return_inverse=True)
        kind = kind.reshape(-1)
        low, high = np.full(kinds.shape[1], np.iinfo(np.int64).max), np.full(kinds.shape[1], np.iinfo(np.int64).min)
        np.minimum.at(low, kind, place)
        np.maximum.at(high, kind, place + steps)
        size = high - low
        if size.sum() > CALENDAR:
            return None
        until = np.cumsum(size)
        of = np.repeat(np.arange(len(size)), size)
        at = np.arange(int(until[-1])) - (until - size)[of] + low[of]
        stamps = step.stamps(at * step.step + kinds[0][of], kinds[1][of])
        stamps = _utc(stamps, times.zone) if step.wall else stamps
        table = fields_of(stamps, names, times.zone, holidays, first)
        return cls(torch.from_numpy(table), torch.from_numpy((until - size - low)[kind] + place))


def fields_of(
    time: Stamps, names: tuple[str, ...], zone: str | None, holidays: Holidays | None, first: np.datetime64
) -> NDArray[np.float32]:
    """(N, F) calendar fields; nothing is known of days off before `first`, see panel.pad."""
    if holidays is None:
        return clock(time, names, zone)
    plain = tuple(name for name in names if name not in HOLIDAY_FIELDS)
    out = np.empty((len(time), len(names)), np.float32)
    out[:, [names.index(name) for name in plain]] = clock(time, plain, zone)
    for name in HOLIDAY_FIELDS:
        out[:, names.index(name)] = NO_HOLIDAY[name]
    rows = np.flatnonzero(time >= first)
    days = to_wall(time[rows], zone).astype("datetime64[D]")
    out[rows[:, None], [names.index(name) for name in HOLIDAY_FIELDS]] = holidays.fields(days)
    return out


class MappedGather(Gather):
    """As Gather, from files: every batch is read in one call, then scaled."""

    def __init__(
        self, rows: Rows, unseen: Rows | None, times: Times, calendar: Calendar | None, *, mean: Floats, std: Floats,
        fields: tuple[str, ...], holidays: Holidays | None, targets: int, context: int, horizon: int, whole: bool,
        weight: Floats | None = None,
    ) -> None:  # fmt: skip
        """`mean` and `std` (S, C) of the scaler; `unseen`: where a value was filled in; `whole`: none is missing."""
        self.rows, self.unseen, self.times, self.calendar = rows, unseen, times, calendar
        self.mean, self.std = torch.from_numpy(mean), torch.from_numpy(std)
        self.fields, self.holidays, self.begin = fields, holidays, times.min()
        self.start, self.known = torch.from_numpy(times.start), None
        self.weight = None if weight is None else torch.from_numpy(weight.astype(np.float32))
        self.targets, self.context, self.horizon, self.whole = targets, context, horizon, whole
        self.last = len(rows) - horizon
        self.values = cast(Any, Scaled(self))

    def __call__(self, origin: Tensor, series: Tensor) -> SeriesBatch:
        if len(origin) and not self.context <= int(origin.min()) <= int(origin.max()) <= self.last:
            raise IndexError(f"origins are {self.context} … {self.last}")
        cut, first = self.context, origin - self.context
        z = self.scaled(self.rows.windows(first, cut + self.horizon), series[:, None])
        past, future = z[:, :cut], z[:, cut:, : self.targets]
        if self.unseen is not None:
            filled = self.unseen.windows(origin, self.horizon)[..., : self.targets].bool()
            future = future.masked_fill(filled, torch.nan)
        calendar = self._clock(first, series)
        return SeriesBatch(
            past.nan_to_num(0.0).contiguous(), self._seen(past), calendar[:, :cut].contiguous(),
            future.nan_to_num(0.0).contiguous(), self._seen(future), calendar[:, cut:].contiguous(), origin, series,
            None, None, None, None if self.weight is None else self.weight[series],
        )  # fmt: skip

    def scaled(self, values: Tensor, series: Tensor) -> Tensor:
        """(…, C) values of series (…) → float32, as Scaler.apply and Gather make them."""
        return ((values.double() - self.mean[series]) / self.std[series]).float()

    def _seen(self, values: Tensor) -> Tensor:
        if self.whole:
            return torch.ones(1, *values.shape[1:], dtype=torch.bool).expand(values.shape)
        return (~values.isnan()).contiguous()

    def _clock(self, first: Tensor, series: Tensor) -> Tensor:
        """(B, L + H, F) calendar fields of windows that begin at rows `first`."""
        length, width = self.context + self.horizon, len(self.fields)
        if self.calendar is None or self.holidays is not None and self.times.lack:
            rows = (first[:, None] + torch.arange(length)).flatten().numpy()
            table = self.calendar_of(rows, np.repeat(series.numpy(), length))
            return torch.from_numpy(table).view(-1, length, width)
        held = self.calendar.fields
        view = held.as_strided((max(len(held) - length + 1, 0), length * width), (width, 1))
        place = self.calendar.base[series] + first - self.start[series]
        return view.index_select(0, place).view(-1, length, width)

    def calendar_of(self, rows: Ints, series: Ints) -> NDArray[np.float32]:
        """(K, F) calendar fields of rows of series `series` (K,)."""
        if self.calendar is None:
            found = fields_of(self.times[rows], self.fields, self.times.zone, self.holidays, self.begin)
        else:
            local = rows - self.times.start[series]
            found = self.calendar.fields.numpy()[self.calendar.base.numpy()[series] + local]
        if self.holidays is not None and self.times.lack:
            before = rows - self.times.start[series] < self.times.lack
            for name in HOLIDAY_FIELDS:
                found[before, self.fields.index(name)] = NO_HOLIDAY[name]
        return found

    @property
    def row_bytes(self) -> int:
        length = self.context + self.horizon
        return length * (self.rows.width * 13 + len(self.fields) * 4)  # float64, float32 and a mask


class Scaled:
    """The scaled values (N, C) of a gather by rows, read where they are indexed."""

    def __init__(self, gather: MappedGather) -> None:
        self.gather = gather
        self.shape = (len(gather.rows), gather.rows.width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows of any shape → (…, C) float32."""
        flat = rows.reshape(-1)
        series = torch.searchsorted(self.gather.start, flat, right=True) - 1
        found = self.gather.scaled(self.gather.rows.windows(flat, 1)[:, 0], series)
        return found.view(*rows.shape, self.shape[1])
