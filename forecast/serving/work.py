"""A batch: the queries of requests that came together, answered with as few passes of the model as there can be.

What one series is told depends on no other: a series that cannot be forecast has its own reason, a query whose series
make the model fail fails alone.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch

from forecast.errors import ForecastError
from forecast.inference.frame import Asked, forecast_frame
from forecast.inference.predictor import Predictor
from forecast.ledger import QUARANTINED
from forecast.serving.model import Model
from forecast.serving.reading import Given, Query
from forecast.serving.tables import Entry, entries, faulty, table
from forecast.streaming.serving.guard import Refusal

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A series of a batch."""

    query: int
    at: int  # in the query
    given: Given


@torch.inference_mode()
def work(model: Model, queries: Sequence[Query]) -> list[list[Entry] | Exception]:
    """The entries of each query, or why it has none."""
    try:
        return _together(model, queries)
    except Exception as error:
        if len(queries) > 1:  # one of them is to blame
            return [work(model, [query])[0] for query in queries]
        if isinstance(error, ForecastError):
            return [Refusal(422, " ".join(str(error).split()))]
        log.error("a batch failed: %s: %s", type(error).__name__, error)
        return [error]


def _together(model: Model, queries: Sequence[Query]) -> list[list[Entry] | Exception]:
    found: list[list[list[Entry]]] = [[[] for _ in query.series] for query in queries]
    groups: dict[Asked, list[Place]] = {}
    for number, query in enumerate(queries):
        asked = Asked(query.levels, on_bad="fallback" if query.on_bad == "fallback" else "quarantine", now=query.now)
        for at, given in enumerate(query.series):
            if given.fault is not None:
                found[number][at] = [faulty(given, *given.fault, model.shape)]
            else:
                groups.setdefault(asked, []).append(Place(number, at, given))
    for asked, places in groups.items():
        for place, said in _asked(model, asked, places):
            found[place.query][place.at] = said
    return [_told(query, said) for query, said in zip(queries, found, strict=True)]


def _asked(model: Model, asked: Asked, places: Sequence[Place]) -> list[tuple[Place, list[Entry]]]:
    """Series of which the same is asked."""
    made: list[tuple[Place, list[Entry]]] = []
    rest = list(places)
    if isinstance(model.predictor, Predictor) and model.quick.able:
        fits = model.quick.fits([place.given for place in rest])
        short = [place for place, fit in zip(rest, fits, strict=True) if fit]
        rest = [place for place, fit in zip(rest, fits, strict=True) if not fit]
        if short:
            levels = model.predictor.asked(asked.levels)
            try:
                said = model.quick.forecast([place.given for place in short], levels)
                made += zip(short, said, strict=True)
            except ForecastError:  # one is beyond what the checks of `fits` see: those of the long way tell which
                rest += short
    for some in _rounds(rest, alone=model.shape.id is None):
        frame = forecast_frame(table([place.given for place in some], model.shape), model.predictor, asked)
        made += zip(some, entries(frame, [place.given.name for place in some], model.task), strict=True)
    return made


def _rounds(places: Sequence[Place], *, alone: bool) -> list[list[Place]]:
    """In a table each name stands for one series, so those that share one take turns; `alone`: a table has no names."""
    if alone:
        return [[place] for place in places]
    rounds: list[list[Place]] = []
    seen: dict[str, int] = {}
    for place in places:
        turn = seen[place.given.key] = seen.get(place.given.key, -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(place)
    return rounds


def _told(query: Query, said: list[list[Entry]]) -> list[Entry] | Exception:
    """The entries of a query, with the steps it wants; with on_bad=error the first series that is bad, instead."""
    made = [entry for entries_of in said for entry in entries_of]
    if query.on_bad == "error":
        for one in made:
            if one["status"] == QUARANTINED:
                return Refusal(422, f"series '{one['unique_id']}' ({one['reason']}): {one['detail']}")
    if (h := query.horizon) is not None:
        for one in made:
            if one["status"] != QUARANTINED:
                one |= {key: one[key][:h] for key in ("ds", "y_hat")}
                one["quantiles"] = {key: cells[:h] for key, cells in one["quantiles"].items()}
    return made
