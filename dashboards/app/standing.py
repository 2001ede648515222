"""The leaderboard's figures, of the cards of runs alone: which runs are one line, which lines stand in one table.

Runs over the same test part of the same data, scaled alike, stand in one table; those of equal settings but the seed
are one line of it. Nothing but small JSON files was read for it: a thousand runs take a moment. Differences with an
interval need predictions, and `forecast evaluate compare=…`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from forecast.dashboards.app.sources import Card
from forecast.dashboards.boards.lines import CONTROL, Parts, mean, variants
from forecast.dashboards.charts.style import role_of

OWN: Final = ("model", "streamed")  # kinds of rows that are the run's own
TASKS: Final = {"series": "forecast", "events": "event", "classes": "classify"}


class Measure(NamedTuple):
    """A column of scores: where it stands in the rows of a card, and which way is better."""

    key: str
    title: str
    sign: int  # 1: the higher the better; -1: the lower
    share: bool = False  # between 0 and 1, written in percent
    about: str = ""


MEASURES: Final[dict[str, tuple[Measure, ...]]] = {
    "series": (
        Measure("mse", "MSE", -1, about="scaled: 1 is the variance of the training rows"),
        Measure("mae", "MAE", -1, about="scaled: 1 is the standard deviation of the training rows"),
    ),
    "events": (
        Measure("nats_total", "Nats per event", 1, about="log-likelihood of time and mark"),
        Measure("nats_time", "of time", 1, about="log-likelihood of the gap, nats per event"),
        Measure("nats_mark", "of marks", 1, about="log-likelihood of the mark, nats per event"),
        Measure("rmse", "RMSE of the gap", -1, about="in the data's unit of time"),
        Measure("accuracy", "Marks right", 1, True),
    ),
    "classes": (
        Measure("accuracy", "Accuracy", 1, True),
        Measure("macro_f1", "Macro-F1", 1),
        Measure("log_loss", "Log loss", -1, about="nats per series"),
        Measure("ece", "ECE", -1, True, "expected calibration error"),
    ),
}


class Entry(NamedTuple):
    """A line of a table: a model with its settings over its seeds, or what was measured beside it."""

    name: str
    kind: str  # model, or that of the row: naive, baseline, floor, rival, oracle, …
    values: Mapping[str, Sequence[float]]  # by the key of a measure, one for each seed
    cards: tuple[Card, ...] = ()  # its runs by seed
    parts: Parts = ("", "", "", "")
    validation: float = math.nan  # the mean of the score by which one chooses, the lower the better
    gain: float | None = None  # the first measure's mean over that of none, the higher the better
    parameters: float | None = None
    seconds: float | None = None
    memory: float | None = None  # MiB
    chosen: bool = False  # the best validation of its model
    best: bool = False  # the best test score of the table

    @property
    def role(self) -> str:
        """Of its colour."""
        if self.kind == "model":
            return "muted" if self.parts[0] == CONTROL else "model"
        return role_of(self.name, self.kind)

    @property
    def control(self) -> bool:
        """Whether it is the model without mixing, or what was measured beside the models: always shown."""
        return self.kind != "model" or self.parts[0] == CONTROL

    def score(self, key: str) -> float:
        return mean(self.values.get(key, ()))


class Board(NamedTuple):
    """A table: the lines over one test part, the best validation first, and what stands beside them."""

    key: str  # of its setting
    kind: str
    dataset: str
    context: int | None
    horizon: int | None
    measures: tuple[Measure, ...]  # those that a line has
    lines: tuple[Entry, ...]
    others: tuple[Entry, ...]
    repeated: int  # runs left out for a newer one with their seed
    twin: bool = False  # another table has the same title: other data, split or windows

    @property
    def title(self) -> str:
        ahead = f" {self.context} → {self.horizon}" if self.kind == "series" else ""
        return f"{self.dataset}{ahead}{f' · {self.key[:4]}' if self.twin else ''}"

    @property
    def runs(self) -> int:
        return sum(len(line.cards) for line in self.lines)

    @property
    def best(self) -> Entry | None:
        return next((line for line in self.lines if line.best), None)

    @property
    def yardstick(self) -> Entry | None:
        """What a model must beat first: the seasonal naive row, else the last value; of others the best."""
        if self.kind == "series":
            named = [row for word in ("season", "last") for row in self.others if word in row.name.lower()]
            return next(iter([*named, *self.others]), None)
        measure = self.measures[0]
        known = [row for row in self.others if row.kind != "oracle" and row.values.get(measure.key)]
        return max(known, key=lambda row: measure.sign * row.score(measure.key), default=None)


def boards(cards: Iterable[Card]) -> list[Board]:
    """Every table of the finished runs among the cards, by name."""
    found: dict[tuple[str, str], list[Card]] = {}
    for card in cards:
        if comparable(card):
            found.setdefault((card.kind, card.setting), []).append(card)
    made = [_board(each) for each in found.values()]
    titles = [(board.kind, board.title) for board in made]
    made = [board._replace(twin=titles.count((board.kind, board.title)) > 1) for board in made]
    return sorted(made, key=lambda board: (board.dataset, board.horizon or 0, board.context or 0, board.key))


def comparable(card: Card) -> bool:
    """Whether it has scores that may stand in a table."""
    return card.path is not None and card.finished and not card.damage and bool(card.setting and card.scores)


def _board(cards: Sequence[Card]) -> Board:
    by_line: dict[str, dict[int, Card]] = {}
    repeated = 0
    for card in sorted(cards, key=lambda card: (card.started, card.id)):  # the newest of equal runs stays
        same = by_line.setdefault(card.group, {})
        repeated += (card.seed or 0) in same
        same[card.seed or 0] = card
    runs = [tuple(each[seed] for seed in sorted(each)) for each in by_line.values()]
    words = variants([(each[0].parts, each[0].rest) for each in runs])
    lines = [_line(each, variant) for each, variant in zip(runs, words, strict=True)]
    others = _others(runs)
    kind, first = cards[0].kind, runs[0][0]
    measures = tuple(m for m in MEASURES[kind] if any(line.values.get(m.key) for line in [*lines, *others]))
    return Board(
        first.setting, kind, first.dataset, first.context, first.horizon, measures,
        tuple(_marked(lines, measures[0])) if measures else tuple(lines), tuple(others), repeated,
    )  # fmt: skip


def _line(cards: tuple[Card, ...], variant: str) -> Entry:
    first = cards[0]
    keys = [measure.key for measure in MEASURES[first.kind]]
    values = {key: [card.scores[key] for card in cards if finite(card.scores.get(key))] for key in keys}
    validation = _mean(card.validation for card in cards)
    return Entry(
        name=" · ".join((*first.parts, *([variant] if variant else []))),
        kind="model",
        values={key: found for key, found in values.items() if found},
        cards=cards,
        parts=first.parts,
        validation=math.nan if validation is None else validation,
        parameters=_mean(card.parameters for card in cards),
        seconds=_mean(card.seconds for card in cards),
        memory=_mean(card.memory for card in cards),
    )


def _marked(lines: Sequence[Entry], measure: Measure) -> list[Entry]:
    """The lines by validation, with what each gains over none; the best of each model and the best test score."""
    ordered = sorted(lines, key=lambda line: (not finite(line.validation), line.validation, line.name))
    controls = [line for line in ordered if line.parts[0] == CONTROL and finite(line.score(measure.key))]
    top = max((measure.sign * line.score(measure.key) for line in ordered if finite(line.score(measure.key))),
              default=math.nan)  # fmt: skip
    models: set[str] = set()
    made = []
    for line in ordered:
        gain, score = None, line.score(measure.key)
        if controls and line.parts[0] != CONTROL and finite(score):
            control = next((each for each in controls if each.parts[1:] == line.parts[1:]), controls[0])
            gain = measure.sign * (score - control.score(measure.key))
        chosen = line.parts[0] not in models
        made.append(line._replace(gain=gain, chosen=chosen, best=measure.sign * score == top))
        models.add(line.parts[0])
    return made


def _others(runs: Sequence[Sequence[Card]]) -> list[Entry]:
    """Naive rows, floors, rivals, baselines; what several runs measured alike counts once."""
    found: dict[tuple[str, str], dict[str, dict[float, None]]] = {}
    for cards in runs:
        for card in cards:
            for row in card.rows:
                if row.kind not in OWN:
                    values = row.scaled if card.kind == "series" else row.original
                    mine = found.setdefault((row.name, row.kind), {})
                    for measure in MEASURES[card.kind]:
                        if finite(values.get(measure.key)):
                            mine.setdefault(measure.key, {})[values[measure.key]] = None
    return [Entry(name, kind, {key: list(each) for key, each in by_key.items()})
            for (name, kind), by_key in found.items()]  # fmt: skip


def shortened(board: Board) -> dict[str, str]:
    """The name of each line without what all have in common."""
    columns = list(zip(*(line.parts for line in board.lines), strict=True))
    told = [k for k, column in enumerate(columns) if k == 0 or len(set(column)) > 1]
    names = {}
    for line in board.lines:
        variant = line.name.removeprefix(" · ".join(line.parts)).removeprefix(" · ")
        names[line.name] = " · ".join([*(line.parts[k] for k in told), *([variant] if variant else [])])
    return names


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean(values: Iterable[float | None]) -> float | None:
    """Of numbers that all are there."""
    found = list(values)
    return mean([value for value in found if value is not None]) if found and None not in found else None
