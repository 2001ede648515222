"""What a run of events keeps of a few sequences, to be looked at closely: the typical ones that its report draws, then
the worst, the best and some at random, each with its last events.

timeline_events.parquet   unique_id, ds, mark, scored: their events
timeline.parquet          unique_id, ds, hazard: of the next event, at times between them
timeline_next.parquet     unique_id, event, gap, density, names, p: at each scored event the density of the gap before
                          it, per unit of time, at a list of gaps, and the likeliest marks, all as forecast before it
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast.dashboards.events.sequences import chosen, listed
from forecast.data.event_batch import EventGather
from forecast.data.event_split import Part
from forecast.heads.event_chain import EventChain
from forecast.heads.gaps import FLOOR, Gaps
from forecast.heads.next_event import Next
from forecast.inference.event_record import moments, shown, write

if TYPE_CHECKING:  # Lightning
    from forecast.data.event_module import EventModule

FILES: Final = ("timeline.parquet", "timeline_events.parquet", "timeline_next.parquet")
LINES: Final = 4  # typical sequences,
EACH: Final = 6  # the worst, the best, some at random,
LONG: Final = 40  # of each the last events at least,
EVENTS: Final = 400  # and more, while there are fewer than so many of all
POINTS: Final = 400  # times at which a hazard is told
DENSE: Final = 32  # quantiles at which a density is told; as many gaps in between, evenly by their logarithm
ENDS: Final = (0.002, 0.99)  # the outer ones
MARKS: Final = 8  # of which the probability is told


class Piece(NamedTuple):
    """The last events of a sequence, with all that was forecast of them."""

    name: str
    made: Next  # of all its events, (1, L)
    rows: Any  # (L,) rows of the table
    keep: Any  # (K,) the last of them
    gaps: Tensor  # (L,) that came, as they are scored
    until: float  # the end of the watch


@torch.inference_mode()
def write_closer(data: "EventModule", chain: EventChain, folder: Path, made: pl.DataFrame, part: str = "test") -> None:
    """`made`: what the run wrote of the part as predictions.parquet."""
    of, gather = data.part(part), data.gather(part)
    numbers = _numbers(of, gather, made)
    long = max(LONG, EVENTS // max(len(numbers), 1))
    lines, told, ahead = [], [], []
    for number in numbers:
        piece = _piece(of, gather, chain, number, long)
        lines.append(_hazard(of, piece))
        told.append(_events(data, of, piece))
        ahead.append(_next(data, of, piece))
    for name, frames in zip(FILES, (lines, told, ahead), strict=True):
        write(pl.concat(frames), folder / name)


def _numbers(of: Part, gather: EventGather, made: pl.DataFrame) -> list[int]:
    """Pieces, one of each sequence, its last with a scored event: first those whose count of scored events is typical
    of the upper half, so that there is something to see; then by how well they were forecast."""
    order = np.argsort(gather.targets, kind="stable")
    order = order[gather.targets[order] > 0]
    typical = order[np.unique((len(order) - 1) * np.linspace(0.6, 0.95, LINES)).astype(np.int64)]
    last = {int(gather.number[piece]): int(piece) for piece in np.sort(order)}
    places = {name: k for k, name in enumerate(of.events.ids)}
    lazy = made.lazy().with_columns(pl.col("unique_id", "mark", "guess").cast(pl.String))
    others = [places[name] for name in chosen(listed(lazy), EACH)]
    first = list(dict.fromkeys(int(gather.number[piece]) for piece in np.unique(typical)))
    return [last[number] for number in dict.fromkeys([*first, *others])]


def _piece(of: Part, gather: EventGather, chain: EventChain, number: int, long: int) -> Piece:
    batch = gather(torch.tensor([number]))
    made = chain(batch)
    rows = gather.rows(torch.tensor([number]), int(batch.length[0]))[0].numpy()
    sequence, final = int(batch.sequence[0]), float(of.events.time[rows[-1]])
    until = float(of.end[sequence]) if batch.last[0] > 0 else final
    return Piece(of.events.ids[sequence], made, rows, rows[-long:], batch.gaps[0], max(until, final))


def _hazard(of: Part, piece: Piece) -> pl.DataFrame:
    """At even times from the first event to the end of the watch, if that is not far away, and after each event."""
    time = of.events.time
    first, final = time[piece.keep[0]], time[piece.rows[-1]]
    span = final - first
    even = np.linspace(first, min(piece.until, final + 0.25 * span), max(POINTS, 8 * len(piece.keep)) + 1)[1:]
    at = np.unique(np.concatenate([even, time[piece.keep] + 1e-4 * span]))
    at = at[at > first]
    last = np.searchsorted(time[piece.rows], at, side="left") - 1
    since = torch.from_numpy(at - time[piece.rows][last])
    hazard = piece.made.gaps.at((0, torch.from_numpy(last))).hazard(since)
    return pl.DataFrame(
        {"unique_id": piece.name, "ds": moments(of.events, at), "hazard": hazard.float().numpy()},
        schema_overrides={"unique_id": pl.String},
    )


def _events(data: "EventModule", of: Part, piece: Piece) -> pl.DataFrame:
    codes, names = of.events.mark[piece.keep], pl.Series(of.events.marks, dtype=pl.String)
    return pl.DataFrame({
        "unique_id": pl.Series([piece.name] * len(codes), dtype=pl.String), "ds": shown(of.events, piece.keep),
        "mark": names.gather(codes) if data.spec.labels else data.recipe.names(codes), "scored": of.target[piece.keep],
    })  # fmt: skip


def _next(data: "EventModule", of: Part, piece: Piece) -> pl.DataFrame:
    """What was forecast at the event before each of the last ones that were scored."""
    places = np.flatnonzero(np.isin(piece.rows, piece.keep) & of.target[piece.rows])
    places = places[places > 0]
    before = torch.from_numpy(places - 1)
    gaps = piece.made.gaps.at((0, before[:, None]))  # (K, 1) distributions for (K, G) gaps
    at = spots(piece.made.gaps.at((0, before)), piece.gaps[places])
    marks = Next(piece.made.gaps.at((slice(None), before)), piece.made.states[:, before], piece.made.marks)
    p, code = marks.mark_probabilities()[0].float().topk(min(MARKS, len(data.spec.marks)))
    names = data.recipe.names(code.reshape(-1).numpy()).to_list()
    width = code.shape[-1]
    number = int(np.searchsorted(of.events.start, piece.rows[0], side="right")) - 1
    return pl.DataFrame(
        {
            "unique_id": [piece.name] * len(places),
            "event": piece.rows[places] - of.events.start[number],
            "gap": at.float().tolist(),
            "density": gaps.log_prob(at).exp().float().tolist(),
            "names": [names[k : k + width] for k in range(0, len(names), width)],
            "p": p.tolist(),
        },
        schema={"unique_id": pl.String, "event": pl.Int64, "gap": pl.List(pl.Float32), "density": pl.List(pl.Float32),
                "names": pl.List(pl.String), "p": pl.List(pl.Float32)},
    )  # fmt: skip


def spots(gaps: Gaps, came: Tensor) -> Tensor:
    """(K, G) rising gaps at which K densities are told: quantiles, gaps evenly between them, and the one that came."""
    low, high = ENDS
    edge = torch.tensor(ENDS).logit()
    levels = torch.linspace(float(edge[0]), float(edge[1]), DENSE).sigmoid().to(gaps.place.dtype)
    found = gaps.at((slice(None), None)).quantile(levels)
    ends = (gaps.quantile(level).clamp(min=FLOOR).log()[:, None] for level in (low, high))
    first, last = ends
    between = (first + (last - first) * torch.linspace(0, 1, DENSE).to(first.dtype)).exp()
    return torch.cat([found, between, came.to(found.dtype).clamp(min=FLOOR)[:, None]], -1).sort(-1).values
