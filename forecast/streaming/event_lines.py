"""JSON lines into events and forecasts of the next into JSON lines.

In:   {"unique_id": "customer 7", "ds": "2024-01-01T09:30:00", "mark": "order"}    and covariates, and an "id" if wanted
Out:  {"seq": 1, "unique_id": "customer 7", "ds": …, "status": "ok", "nats": …, "tail": …, "mean": …, "median": …,
       "q05": …, "q95": …, "unit": "day", "next": …, "mark": "order", "p": {"order": .8, …}}

The columns have the names of the training data; `unique_id`, `ds` and `mark` will do as well. Of several labels `mark`
is those that are likelier than not, and `p` is of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from forecast.data.event_recipe import EventRecipe
from forecast.data.events import ONE_MARK, Floats
from forecast.data.stamps import NOTHING
from forecast.errors import nearest
from forecast.inference.predictor import column
from forecast.streaming.event_taken import EventTaken
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import STATUSES
from forecast.streaming.lines import significant
from forecast.streaming.parsing import Parser, number, shown

ALONE = "events"  # the sequence of a table without a column that tells sequences apart


@dataclass(frozen=True, slots=True)
class Held:
    """What N events hold beside a name and a time."""

    marks: list[str]  # N
    beside: Floats  # (N, E) NaN where missing

    def __getitem__(self, rows: Any) -> "Held":
        """Those of some rows, by their numbers."""
        return Held([self.marks[i] for i in rows], self.beside[rows])


class EventReader(Parser):
    """What a line must hold under a run's recipe."""

    def __init__(self, recipe: EventRecipe, time: EventTime) -> None:
        card = recipe.card
        self.mark = () if card.mark is None else tuple(dict.fromkeys([card.mark, "mark"]))
        self.columns, self.event_time = recipe.extra.columns, time
        self.labels = recipe.spec.labels
        super().__init__(
            id=card.id, alone=ALONE, time=card.time, zone=None, shape=[*self.mark[:1], *self.columns]
        )  # fmt: skip
        self.known |= {*self.mark, *self.columns}

    def _held(self, found: dict[str, Any]) -> tuple[str, list[float]]:
        row = [number(key, found.get(key)) for key in self.columns]
        if not all(key in found for key in self.columns):  # it was not known of this event, or was mistyped
            strange = [key for key in found if key not in self.known]
            if strange:
                raise ValueError(f"'{strange[0]}' is no column; {nearest(strange[0], sorted(self.known))}")
        return self._mark(found) if self.mark else ONE_MARK, row

    def _mark(self, found: dict[str, Any]) -> str:
        value = next((found[key] for key in self.mark if key in found), None)
        if type(value) is int or (type(value) is float and value.is_integer()):
            value = str(int(value))  # as in training: 1 and 1.0 are one name
        if not isinstance(value, str) or (value.strip().lower() in NOTHING and not self.labels):
            raise ValueError(f"'{self.mark[0]}' is {shown(value)}; expected the name of a mark")
        return value

    def _joined(self, values: list[tuple[str, list[float]]]) -> Held:
        rows = np.array([row for _, row in values], np.float64).reshape(len(values), len(self.columns))
        return Held([mark for mark, _ in values], rows)

    def _time(self, text: Any) -> tuple[int, bool]:
        if self.event_time.stamps:
            return super()._time(text)
        return self.event_time.told(self.time[0], text)


class EventWriter:
    """Forecasts as lines, each with the number of its message."""

    def __init__(self, recipe: EventRecipe, time: EventTime, levels: Sequence[float]) -> None:
        self.time, self.columns, self.marked = time, [column(level) for level in levels], recipe.card.mark is not None
        self.separator, self.unit = recipe.card.labels or ";", recipe.spec.unit

    def __call__(self, taken: EventTaken, ids: Sequence[Any], first: int) -> list[bytes]:
        """A line for each forecast; `ids` are those of the events' messages, `first` the number of the first line."""
        made = taken.forecasts
        numbers = np.column_stack([taken.nats.sum(1), taken.tail, made.mean, made.median, made.quantiles])
        keys = ["nats", "tail", "mean", "median", *self.columns]
        lines, codes, rows = [], taken.status[taken.at].tolist(), significant(numbers).tolist()
        p = significant(made.p).tolist()
        for i, (name, tick, at) in enumerate(zip(made.ids, taken.ticks.tolist(), taken.at.tolist(), strict=True)):
            line: dict[str, Any] = {"seq": first + i, "unique_id": name, "ds": self.time.written(tick)}
            line["status"] = STATUSES[codes[i]]
            if ids[at] is not None:
                line["id"] = ids[at]
            line |= dict(zip(keys, rows[i], strict=True))  # NaN is null in JSON
            line["unit"], line["next"] = self.unit, self.time.ahead(tick, rows[i][3])
            if self.marked:
                names = [made.marks[code] for code in made.top[i].tolist()]
                line["mark"], line["p"] = self._guess(made.marks, made.guess[i]), dict(zip(names, p[i], strict=True))
            lines.append(orjson.dumps(line))
        return lines

    def _guess(self, marks: tuple[str, ...], guess: Any) -> str:
        if guess.ndim == 0:
            return marks[int(guess)]
        return self.separator.join(marks[code] for code in np.flatnonzero(guess).tolist())
