"""JSON lines into steps of labelled series and the probabilities of their classes into JSON lines.

In:   {"unique_id": "pump 7", "flow": 3.2, "heat": null}      a step; with its time where the training had times
      {"unique_id": "pump 7", "end": true}                    the series has ended; a last step may stand here too
Out:  {"seq": 1, "unique_id": "pump 7", "step": 1, "status": "first", "label": "worn", "p": .8,
       "classes": {"worn": .8, "sound": .2}}

The columns have the names of the training data; `unique_id`, `ds` and, where there is one channel, `y` will do as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecast.data.events import Floats
from forecast.data.label_recipe import LabelRecipe
from forecast.streaming.class_taken import ClassTaken
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import STATUSES
from forecast.streaming.lines import significant
from forecast.streaming.parsing import Channels, shown

SHOWN: Final = 100  # likeliest classes
END: Final = "end"


@dataclass(frozen=True, slots=True)
class Steps:
    """What N lines hold beside a name and a time."""

    values: Floats  # (N, C) NaN where nothing was observed
    ends: NDArray[np.bool_]  # (N,) whether the series ends
    bare: NDArray[np.bool_]  # (N,) whether that is all it says: there is no step

    def __getitem__(self, rows: Any) -> "Steps":
        """Those of some rows."""
        return Steps(self.values[rows], self.ends[rows], self.bare[rows])

    @classmethod
    def of(cls, values: Floats, *, ends: bool = False, bare: bool = False) -> "Steps":
        """Steps (N, C) that all end their series, or none."""
        return cls(values, np.full(len(values), ends), np.full(len(values), bare))


class Held(NamedTuple):
    """A line."""

    row: list[float]
    ends: bool
    bare: bool


class ClassReader(Channels):
    """What a line must hold under a run's recipe."""

    def __init__(self, recipe: LabelRecipe, time: EventTime | None) -> None:
        card, names = recipe.card, recipe.spec.channels
        self.event_time = time
        also = ["y"] if len(names) == 1 and card.label != "y" else []
        super().__init__(
            [tuple(dict.fromkeys([name, *also])) for name in names], card.missing, id=card.id, alone="",
            time=card.time or "ds", zone=None,
        )  # fmt: skip
        self.ends = END not in self.known  # else a column has that name, and nothing ends
        self.known |= {card.label, END}
        if time is None:
            self.known -= set(self.time)
            self.shape = [name for name in self.shape if name not in self.time]

    def _bare(self, found: dict[str, Any]) -> bool:
        """Whether a line says that a series ends, and nothing else."""
        return self._end(found) and not any(key in found for keys in self.channels for key in keys)

    def _end(self, found: dict[str, Any]) -> bool:
        end = found.get(END, False) if self.ends else False
        if type(end) is not bool:
            raise ValueError(f"'{END}' is {shown(end)}; expected true where a series ends")
        return end

    def _held(self, found: dict[str, Any]) -> Held:
        if self._bare(found):
            return Held([np.nan] * len(self.channels), True, True)
        return Held(self._row(found), self._end(found), False)

    def _joined(self, values: list[Held]) -> Steps:
        rows = np.array([each.row for each in values], np.float64).reshape(len(values), len(self.channels))
        return Steps(
            rows, np.array([each.ends for each in values], bool), np.array([each.bare for each in values], bool)
        )

    def _when(self, found: dict[str, Any]) -> tuple[int, bool]:
        """A line that only ends a series needs no time, and no line does where the training had none."""
        if self.event_time is None or self._bare(found):
            return 0, True
        return super()._when(found)

    def _time(self, text: Any) -> tuple[int, bool]:
        assert self.event_time is not None
        return super()._time(text) if self.event_time.stamps else self.event_time.told(self.time[0], text)


class ClassWriter:
    """Probabilities as lines, each with the number of its message."""

    def __init__(self, recipe: LabelRecipe, time: EventTime | None) -> None:
        self.names, self.time = recipe.spec.classes, time

    def __call__(self, taken: ClassTaken, ids: Sequence[Any], first: int) -> list[bytes]:
        """A line for each answer; `ids` are those of the steps' messages, `first` the number of the first line."""
        made = taken.forecasts
        order = np.argsort(-made.chance, axis=1, kind="stable")[:, :SHOWN]
        p = significant(np.take_along_axis(made.chance, order, 1)).tolist()
        lines, codes = [], taken.status[taken.at].tolist()
        for i, (name, at, top) in enumerate(zip(made.ids, taken.at.tolist(), order.tolist(), strict=True)):
            line: dict[str, Any] = {"seq": first + i, "unique_id": name}
            if self.time is not None:
                line["ds"] = self.time.written(int(made.ticks[i]))
            line["step"], line["status"] = int(made.step[i]), STATUSES[codes[i]]
            if ids[at] is not None:
                line["id"] = ids[at]
            names = [self.names[code] for code in top]
            line |= {"label": names[0], "p": p[i][0], "classes": dict(zip(names, p[i], strict=True))}
            lines.append(orjson.dumps(line))
        return lines
