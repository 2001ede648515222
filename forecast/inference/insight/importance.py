"""What each input is worth: by how much the validation MSE grows where a column is taken from other windows
(permutation importance, Breiman 2001; Fisher, Rudin & Dominici 2019), paired: same windows, with and without.

A column that no forecast uses scores exactly 0 and one of noise about 0. What two columns both say is credited to
neither. Permuting keeps a column's own course within a window and breaks what binds it to the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from forecast.data.batch import Gather, take
from forecast.data.window import Windows
from forecast.ops.selection import mixed
from forecast.types import SeriesBatch, Spec

SHARE: Final = 0.05  # of what the training cost, a step of which costs about three forecasts of its windows
BUDGET: Final = (2_048, 8_192)  # windows forecast in all: at least, at most
MOST, FEWEST = 512, 32  # windows of one pass
AT_ONCE: Final = 256
REPEATS, AGAIN = 5, 2  # of a permutation: as many as the budget allows, but for so many
COLUMNS: Final = 48  # looked at each by itself; the others of a role together


class Column(NamedTuple):
    """An input, or several together: where it stands in a batch."""

    name: str
    role: str  # own past, past, known, behind, static, calendar
    at: tuple[int, ...]  # columns of that role; empty: all


def columns_of(spec: Spec) -> list[Column]:
    """The inputs of a problem: the targets' own past first, the yardstick."""
    found = [Column("own past", "own past", tuple(range(spec.targets)))]
    parts = (
        ("past", spec.channels[spec.targets :], spec.targets),
        ("known", spec.known, 0),
        ("behind", spec.behind, len(spec.known)),
        ("static", spec.static, 0),
    )
    for role, names, first in parts:
        each = COLUMNS if len(names) > COLUMNS else len(names)
        found += [Column(name, role, (first + i,)) for i, name in enumerate(names[:each])]
        if each < len(names):
            rest = tuple(first + i for i in range(each, len(names)))
            found.append(Column(f"{len(rest)} more", role, rest))
    if spec.clock:
        found.append(Column("calendar", "calendar", ()))
    return found


def permuted(batch: SeriesBatch, column: Column, spec: Spec, order: Tensor) -> SeriesBatch:
    """The batch with a column taken from the windows `order` (B,) instead."""
    known, both = len(spec.known), len(spec.known) + len(spec.behind)
    at = list(column.at)
    if column.role == "calendar":
        return batch._replace(past_clock=batch.past_clock[order], future_clock=batch.future_clock[order])
    if column.role == "static":
        return batch if batch.static is None else batch._replace(static=_moved(batch.static, at, order))
    if column.role in ("known", "behind"):
        past = at + [both + i for i in at] * spec.masks
        ahead = [i for i in at if i < known]
        future = ahead + [known + i for i in ahead] * spec.masks
        return batch._replace(
            known_past=None if batch.known_past is None else _moved(batch.known_past, past, order),
            known_future=None if batch.known_future is None else _moved(batch.known_future, future, order),
        )
    return batch._replace(past=_moved(batch.past, at, order), past_mask=_moved(batch.past_mask, at, order))


def _moved(part: Tensor, at: list[int], order: Tensor) -> Tensor:
    """The part with the columns `at` taken from the rows `order`."""
    made = part.clone()
    made[..., at] = part[order][..., at]
    return made


def budget(trained: int) -> int:
    """Windows to forecast after a training on so many, each counted as often as it was learned from."""
    return min(max(round(3 * SHARE * trained), BUDGET[0]), BUDGET[1])


def sizes(columns: int, windows: int, total: int) -> tuple[int, int]:
    """How many windows and how many repeats for `total` forecasts: by counts alone, so that a run repeats itself."""
    many = min(windows, max(FEWEST, min(MOST, total // max(1, columns * REPEATS))))
    return many, max(AGAIN, min(REPEATS, total // max(1, many * columns)))


@torch.no_grad()
def importance(
    forecast: Callable[[SeriesBatch], Tensor],
    gather: Gather,
    windows: Windows,
    spec: Spec,
    *,
    seed: int,
    total: int = BUDGET[1],
) -> dict[str, Any]:
    """Rows of (column, role, mean, sd over repeats, se over windows) and the MSE (scaled) that they are added to.

    `forecast` gives (B, H, T), scaled; it is asked for about `total` windows. Windows lie evenly
    spread; nothing is drawn from a global generator.
    """
    columns = columns_of(spec)
    many, repeats = sizes(len(columns), len(windows), total)
    if many < 2:
        return {"windows": many, "repeats": 0, "mse": None, "rows": []}
    batch = take(gather, windows, np.linspace(0, len(windows) - 1, many).round().astype(np.int64))

    def errors(changed: SeriesBatch) -> Tensor:
        made = torch.cat([forecast(SeriesBatch(*some)) for some in zip(*_split(changed), strict=True)])
        return _errors(made, batch)

    base = errors(batch)
    scored = base.isfinite()
    rows = [_row(column, errors, batch, base, spec, seed=mixed(seed, i), repeats=repeats)
            for i, column in enumerate(columns)]  # fmt: skip
    mse = float(base[scored].mean()) if bool(scored.any()) else None
    return {"windows": many, "repeats": repeats, "mse": mse, "rows": rows}


def _row(
    column: Column, errors: Callable[[SeriesBatch], Tensor], batch: SeriesBatch, base: Tensor, spec: Spec, *,
    seed: int, repeats: int,
) -> dict[str, Any]:  # fmt: skip
    grown = torch.stack([errors(permuted(batch, column, spec, order)) - base
                         for order in _orders(len(base), repeats, seed)])  # fmt: skip
    grown = grown[:, base.isfinite()].double()  # (repeats, windows)
    if not grown.shape[1]:
        return {"column": column.name, "role": column.role, "mean": None, "sd": None, "se": None}
    means, windows = grown.mean(1), grown.mean(0)
    return {
        "column": column.name, "role": column.role, "mean": float(means.mean()),
        "sd": float(means.std()),
        "se": float(windows.std() / len(windows) ** 0.5) if len(windows) > 1 else None,
    }  # fmt: skip


def _orders(count: int, repeats: int, seed: int) -> Iterator[Tensor]:
    """Permutations without a fixed point: every window gets another's column."""
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(mixed(seed, repeat))
        ring = torch.randperm(count, generator=generator)
        order = torch.empty_like(ring)
        order[ring] = ring.roll(1)
        yield order


def _split(batch: SeriesBatch) -> list[Sequence[Any]]:
    """The parts of a batch, each cut into pieces of AT_ONCE windows."""
    count = -(-len(batch.past) // AT_ONCE)
    return [[None] * count if part is None else part.split(AT_ONCE) for part in batch]


def _errors(made: Tensor, batch: SeriesBatch) -> Tensor:
    """The MSE (scaled) of each window (B,), NaN where nothing was observed."""
    square = (made - batch.future).square() * batch.future_mask
    return square.sum((1, 2)) / batch.future_mask.sum((1, 2))
