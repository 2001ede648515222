"""The leaderboard drawn: the lines of one table with their spread, and every table against its simplest forecast."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

from forecast.dashboards.app.standing import Board, Entry, finite, shortened
from forecast.dashboards.charts.chart import Axis, Chart, Line, Mark, Panel, Points, Rule, Symbol
from forecast.dashboards.charts.style import number

MOST = 20  # lines drawn, besides those always shown
FAR = 3.0  # times the width of all models together, beyond which something is told at the edge
LETTERS = 38  # of a name on an axis
SETTINGS = 40  # tables drawn against their simplest forecast
LOOKS: tuple[tuple[str, Symbol], ...] = (
    ("model", "dot"), ("seasonal", "diamond"), ("ridge", "square"), ("last", "triangle"), ("other", "ring"),
    ("muted", "cross"),
)  # fmt: skip


def standing(board: Board) -> Chart | None:
    """The first score of each line, its mean and standard deviation over seeds, beside naive rows."""
    if not board.lines or not board.measures:
        return None
    measure, names = board.measures[0], shortened(board)
    shown = [*board.lines[:MOST], *(line for line in board.lines[MOST:] if line.control or line.best), *board.others]
    shown = [row for row in shown if finite(row.score(measure.key))]
    shown = sorted(shown, key=lambda row: -measure.sign * row.score(measure.key))
    if not shown:
        return None
    marks: list[Mark] = []
    low, high = _window(shown, measure.key)
    for role in dict.fromkeys(row.role for row in shown):
        rows = [(k, row) for k, row in enumerate(shown) if row.role == role]
        marks += _spreads(rows, measure.key, role)
        words = [f"{names.get(row.name, row.name)}: {_told(row, measure.key)}" for _, row in rows]
        symbol: Symbol = "dot" if role == "model" else "diamond" if role == "muted" else "square"
        at = [min(max(row.score(measure.key), low), high) for _, row in rows]
        marks.append(Points(at, [k for k, _ in rows], symbol=symbol, role=role, size=6, words=words))
    beyond = {row.name for row in shown if not low <= row.score(measure.key) <= high}
    ticks = tuple((float(k), _cut(names.get(row.name, row.name), f" {_aside(row, measure.key, high)}"
                                  if row.name in beyond else "")) for k, row in enumerate(shown))  # fmt: skip
    aim = "more is better" if measure.sign > 0 else "less is better"
    edge = (high - low) * 0.04
    x = Axis(f"{measure.title}, test ({aim})", percent=measure.share, range=(low - edge, high + edge))
    y = Axis("", range=(-0.7, len(shown) - 0.3), ticks=ticks, down=True)
    left = len(board.lines) - sum(row.kind == "model" for row in shown)
    said = f"Test {measure.title}: mean over seeds, lines reach one standard deviation. The best stands on top."
    said += f" {left} more lines are in the table." if left else ""
    said += " What is far from the models stands at the edge, with its score." if beyond else ""
    alt = said + f" Best: {names.get(shown[0].name, shown[0].name)}, {_told(shown[0], measure.key)}."
    panel = Panel(tuple(marks), x, y, height=0.55 + 0.27 * len(shown))
    return Chart(f"standing-{board.key}", f"Test {measure.title} of {board.title}", said, alt, (panel,), legend=False)


def _window(rows: Sequence[Entry], key: str) -> tuple[float, float]:
    """Ends of the axis: the models with their spread, and what is not much farther away than they are wide."""
    ends = []
    for row in rows:
        wide = statistics.stdev(row.values[key]) if len(row.values[key]) > 1 else 0.0
        ends.append((row.score(key) - wide, row.score(key) + wide, row.kind == "model"))
    own = [end for end in ends if end[2]] or ends
    low, high = min(end[0] for end in own), max(end[1] for end in own)
    room = FAR * (high - low) or math.inf
    near = [end for end in ends if end[0] >= low - room and end[1] <= high + room]
    low, high = min(end[0] for end in near), max(end[1] for end in near)
    size = max(abs(low), abs(high), 1e-9)
    return (low, high) if high - low > 1e-6 * size else (low - 0.05 * size, high + 0.05 * size)


def _aside(row: Entry, key: str, high: float) -> str:
    """`1.757 →`, of what lies beyond the axis."""
    score = number(row.score(key), 3)
    return f"{score} →" if row.score(key) > high else f"← {score}"


def _spreads(rows: Sequence[tuple[int, Entry]], key: str, role: str) -> list[Mark]:
    """A level line over mean ± sd for each row with several seeds."""
    x: list[float] = []
    y: list[float] = []
    for k, row in rows:
        if len(row.values[key]) > 1:
            middle, wide = row.score(key), statistics.stdev(row.values[key])
            x += [middle - wide, middle + wide, math.nan]
            y += [k, k, math.nan]
    return [Line(np.array(x), np.array(y), role=role, width=2)] if x else []


def against(boards: Sequence[Board]) -> Chart | None:
    """Of several tables the error of every model's chosen line in parts of the simplest forecast's."""
    rows = [board for board in boards if _ratios(board)][:SETTINGS]
    if len(rows) < 2:
        return None
    measure = rows[0].measures[0]
    found = {board.key: _ratios(board) for board in rows}
    often = [name for each in found.values() for name in each]
    named = sorted(dict.fromkeys(often), key=lambda name: -often.count(name))
    marks: list[Mark] = [Rule(1.0)]
    for k, name in enumerate(named):
        role, symbol = LOOKS[min(k, len(LOOKS) - 1)]
        at = [(found[board.key][name], y) for y, board in enumerate(rows) if name in found[board.key]]
        words = [f"{rows[y].title}: {name} {number(ratio, 3)}" for ratio, y in at]
        listed = name if k < len(LOOKS) - 1 or len(named) == len(LOOKS) else "other models"
        marks.append(Points([ratio for ratio, _ in at], [y for _, y in at], name=listed, role=role, symbol=symbol,
                            size=6, words=words))  # fmt: skip
    ticks = tuple((float(k), _cut(board.title)) for k, board in enumerate(rows))
    x = Axis(f"test {measure.title} over that of the simplest forecast", "log")
    panel = Panel(tuple(marks), x, Axis("", range=(-0.7, len(rows) - 0.3), ticks=ticks, down=True),
                  height=0.6 + 0.27 * len(rows))  # fmt: skip
    below = sum(min(each.values()) < 1 for each in found.values())
    said = (
        f"Each model's line of the best validation. Left of 1 it beats the forecast that repeats the last season (or "
        f"value): some model does in {below} of {len(rows)}."
    )
    said += f" The first {SETTINGS} of {len(boards)}." if len(boards) > SETTINGS else ""
    return Chart("against", "Against the simplest forecast", said, said, (panel,))


def _ratios(board: Board) -> dict[str, float]:
    """Model -> its error over the yardstick's; of errors only, for nats have no zero."""
    rod = board.yardstick
    if rod is None or not board.measures or board.measures[0].sign > 0:
        return {}
    key = board.measures[0].key
    size = rod.score(key)
    chosen = [line for line in board.lines if line.chosen and finite(line.score(key))]
    return {line.parts[0]: line.score(key) / size for line in chosen} if finite(size) and size > 0 else {}


def _told(row: Entry, key: str) -> str:
    values = row.values[key]
    spread = f" ± {number(statistics.stdev(values), 2)} over {len(values)} seeds" if len(values) > 1 else ""
    return f"{number(row.score(key))}{spread}"


def _cut(words: str, more: str = "") -> str:
    return (words if len(words) <= LETTERS else f"{words[: LETTERS - 1]}…") + more
