"""Leaderboard: every finished run, by data set and horizon, beside the simplest forecasts."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dash import html

from forecast.dashboards.app import kit
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.sources import Card
from forecast.dashboards.app.standing import (
    TASKS,
    Board,
    Entry,
    Measure,
    boards,
    comparable,
    finite,
    shortened,
)
from forecast.dashboards.app.standing_charts import against, standing
from forecast.dashboards.app.unscored import tracked, unfinished
from forecast.dashboards.boards.text import share, signed, spread
from forecast.dashboards.charts.style import count, duration, number
from forecast.dashboards.scores import listed

PATH: Final = "/"
KINDS: Final = {"series": "forecasts of series", "events": "events", "classes": "classification"}
WHOLE: Final = 4  # tables of lines on one page
SHORT: Final = 12  # lines of each of them where there are several
VALIDATION: Final = {"series": "val MSE", "events": "val NLL", "classes": "val NLL"}


def render(view: View) -> Node:
    """What stands below the heading."""
    cards = view.sources.cards()
    if not cards:
        return [kit.empty("No runs yet", "A run appears here as soon as it has written its first file.",
                          "forecast train"), tracked(view, cards, PATH)]  # fmt: skip
    found = boards(cards)
    kinds = [kind for kind in KINDS if any(board.kind == kind for board in found)]
    kind = view.one("kind") if view.one("kind") in kinds else _newest_kind(cards, kinds)
    there = [board for board in found if board.kind == kind]
    wanted = [board for board in there if _asked(board, view)]
    parts = [_controls(view, kinds, kind, there), *_boards(view, there, wanted)]
    return [*parts, unfinished(view, cards, PATH), tracked(view, cards, PATH)]


def _newest_kind(cards: Sequence[Card], kinds: Sequence[str]) -> str:
    return next((card.kind for card in cards if card.kind in kinds and comparable(card)), next(iter(kinds), "series"))


def _asked(board: Board, view: View) -> bool:
    """Whether the address asks for this table."""
    if key := view.one("setting"):
        return board.key == key
    datasets, horizons = view.query.get("dataset", ()), view.query.get("horizon", ())
    return (not datasets or board.dataset in datasets) and (not horizons or str(board.horizon) in horizons)


def _controls(view: View, kinds: Sequence[str], kind: str, there: Sequence[Board]) -> Node:
    datasets = sorted({board.dataset for board in there})
    horizons = sorted({board.horizon for board in there if board.horizon is not None})
    drops = ("setting", "opage")
    choices = [(each, KINDS[each]) for each in kinds]
    return kit.controls(
        kit.choose("kind", "Kind", choices, view, other=kind, drops=(*drops, "dataset", "horizon"))
        if len(kinds) > 1 else None,
        kit.choose("dataset", "Data set", [(each, each) for each in datasets], view, many=True, drops=drops),
        kit.choose("horizon", "Horizon (steps)", [(str(each), str(each)) for each in horizons], view, many=True,
                   drops=drops) if horizons else None,
        kit.search("model", "Model", view, hint="aaren, d_model=64, …"),
    )  # fmt: skip


def _boards(view: View, there: Sequence[Board], wanted: Sequence[Board]) -> list[Node]:
    if not there:
        return [kit.empty("No finished run yet", "Scores appear when a training has ended.", "forecast train")]
    if not wanted:
        return [kit.empty("Nothing fits", "No table has this data set and horizon: take one of the choices away.")]
    parts: list[Node] = []
    if view.one("setting"):
        parts.append(kit.note(kit.link("← all tables", PATH, **{**view.query, "setting": "", "page": ""})))
    if len(wanted) > 1:
        parts.append(kit.graph(against(wanted), view))
        parts.append(kit.section("By data set and horizon", _overview(view, wanted)))
    alone = len(wanted) == 1
    parts += [_board(view, board, alone) for board in wanted[:WHOLE]]
    if len(wanted) > WHOLE:
        parts.append(kit.note(f"The lines of {len(wanted) - WHOLE} more are behind their names in the table above."))
    return parts


# All tables at once -----------------------------------------------------------------------------------------


def _overview(view: View, wanted: Sequence[Board]) -> Node:
    """A row for each table: its best line, beside the simplest forecast."""
    measure = wanted[0].measures[0]
    columns = [
        Column("dataset", "Data set", False), Column("horizon", "Horizon", title="steps"),
        Column("best", "Best", False, "the best test score"), Column("score", f"test {measure.title}"),
        Column("simple", "Simplest", False, "what it must beat"), Column("yardstick", f"its {measure.title}"),
        Column("models", "Models"), Column("runs", "Runs"),
    ]  # fmt: skip
    if wanted[0].kind != "series":
        columns = [column for column in columns if column.key != "horizon"]

    def best(board: Board) -> float:
        return board.best.score(board.measures[0].key) if board.best and board.measures else float("nan")

    def rod(board: Board) -> float:
        return board.yardstick.score(board.measures[0].key) if board.yardstick and board.measures else float("nan")

    keys: dict[str, Callable[[Board], Any]] = {
        "dataset": lambda board: (board.dataset, board.horizon or 0, board.key),
        "horizon": lambda board: board.horizon,
        "best": lambda board: board.best.name if board.best else None,
        "score": best, "simple": lambda board: board.yardstick.name if board.yardstick else None, "yardstick": rod,
        "models": lambda board: len({line.parts[0] for line in board.lines}), "runs": lambda board: board.runs,
    }  # fmt: skip
    rows = []
    for board in kit.order(wanted, keys, view, "dataset", "o"):
        here = kit.link(board.title, PATH, **{**view.query, "setting": board.key, "page": ""})
        top, simple = board.best, board.yardstick
        cells = {
            "dataset": here, "horizon": count(board.horizon), "best": _long(shortened(board)[top.name]) if top else "–",
            "score": _score(top.values.get(measure.key, ()), measure) if top else "–",
            "simple": simple.name if simple else "–",
            "yardstick": _score(simple.values.get(measure.key, ()), measure) if simple else "–",
            "models": str(keys["models"](board)), "runs": count(board.runs),
        }  # fmt: skip
        rows.append([cells[column.key] for column in columns])
    return kit.table("The best of each data set and horizon", columns, rows, view, PATH, prefix="o")


# One table --------------------------------------------------------------------------------------------------


def _board(view: View, board: Board, alone: bool) -> Node:
    wanted = view.one("model").lower().split()
    lines = [line for line in board.lines if line.control or all(word in line.name.lower() for word in wanted)]
    hidden = len(board.lines) - len(lines)
    shown = lines if alone else [line for k, line in enumerate(lines) if k < SHORT or line.control or line.best]
    rows = kit.order([*shown, *board.others], _keys(board), view, "val")
    names, columns = shortened(board), _columns(board)
    body = [_row(line, board, names) for line in rows]
    lit = [k for k, line in enumerate(rows) if line.best]
    parts: list[Node] = [kit.note(_facts(board, hidden))]
    if len(rows) > kit.ROWS:  # on another page they would be out of sight
        always = [_row(line, board, names) for line in [*lines, *board.others] if line.control]
        parts.append(kit.table(f"{board.title}: what is always compared to", columns, always, view))
    parts.append(kit.table(board.title, columns, body, view, PATH, marked=lit))
    if len(shown) < len(lines):
        more = kit.link(f"All {len(lines):,d} lines", PATH, **{**view.query, "setting": board.key})
        parts.append(kit.note(more))
    parts += [_beside(board), kit.graph(standing(board), view) if alone else None]
    return kit.section(board.title, *parts, key=f"setting-{board.key}")


def _facts(board: Board, hidden: int) -> str:
    lines = len(board.lines)
    told = [f"{_many(board.runs, 'run')} in {_many(lines, 'line')}, the best validation first."]
    if board.twin:
        told.append("Apart from another table of this name: other data, split, windows or scaling.")
    if board.repeated:
        told.append(f"Of {board.repeated} more runs with a seed that stands here already the newest counts.")
    if all(line.parts[0] != "none" for line in board.lines):
        told.append("No run of model=none is among them: what mixing is worth is not shown.")
    if ahead := _ahead(board):
        told.append(f"Better than every model: {listed(ahead)}.")
    if hidden:
        told.append(f"{_many(hidden, 'line')} outside the search.")
    return " ".join(told)


def _ahead(board: Board) -> list[str]:
    """What was measured beside the models and beats the best of them, with its score."""
    best = board.best
    if best is None:
        return []
    measure = board.measures[0]
    top = measure.sign * best.score(measure.key)
    better = [row for row in board.others if row.kind != "oracle" and measure.sign * row.score(measure.key) > top]
    return [f"{row.name} ({_score(row.values[measure.key], measure)})" for row in better]


def _many(n: int, what: str) -> str:
    return f"{n:,d} {what}{'s' * (n != 1)}"


def _keys(board: Board) -> Mapping[str, Callable[[Entry], Any]]:
    def scored(key: str) -> Callable[[Entry], Any]:
        return lambda line: line.score(key)

    return {
        "val": lambda line: line.validation, "name": lambda line: line.name.lower(),
        **{measure.key: scored(measure.key) for measure in board.measures},
        "gain": lambda line: line.gain, "parameters": lambda line: line.parameters,
        "seconds": lambda line: line.seconds, "memory": lambda line: line.memory,
        "seeds": lambda line: len(line.cards) or None,
    }  # fmt: skip


def _columns(board: Board) -> list[Column]:
    first = board.measures[0] if board.measures else None
    scores = [Column(measure.key, f"test {measure.title} {'↑' if measure.sign > 0 else '↓'}", title=measure.about)
              for measure in board.measures]  # fmt: skip
    about = f"{first.title}: how much better than the model without mixing" if first else ""
    gain = [Column("gain", "gain over none", title=about)]
    return [
        Column("name", "Model · embed · norm · head", False), *scores, *(gain if first else []),
        Column("val", VALIDATION[board.kind], title="by which one chooses; ✓ is the best of its model"),
        Column("parameters", "Parameters"), Column("seconds", "Fit", title="time to fit"),
        Column("memory", "Memory", title="peak"), Column("seeds", "Seeds", title="a run for each"),
    ]  # fmt: skip


def _row(line: Entry, board: Board, names: Mapping[str, str]) -> list[Node]:
    scores: list[Node] = [_score(line.values.get(measure.key, ()), measure) for measure in board.measures]
    if line.best:
        scores[0] = [kit.badge("best", "good"), " ", scores[0]]
    gain = [_gain(line, board.measures[0])] if board.measures else []
    seeds: list[Node] = []
    for card in line.cards:
        seeds += [kit.link(str(card.seed if card.seed is not None else "–"), "/run", run=card.id), " "]
    return [
        _name(line, names), *scores, *gain,
        _tick(number(line.validation), line.chosen) if line.cards else "–",
        count(round(line.parameters)) if line.parameters is not None else "–",
        duration(line.seconds) if line.seconds is not None else "–",
        f"{line.memory:,.0f} MiB" if line.memory is not None else "–",
        [*seeds, f"({len(line.cards)})" if len(line.cards) > 1 else ""] if seeds else "–",
    ]  # fmt: skip


def _name(line: Entry, names: Mapping[str, str]) -> Node:
    words = _long(names.get(line.name, line.name))
    shown: list[Node] = [kit.swatch(line.role)]
    shown.append(kit.link(words, "/run", run=line.cards[-1].id) if line.cards else words)
    return shown


def _long(words: str) -> Node:
    """A name that may take several lines, where settings are told in it."""
    return html.Span(words, className="long") if len(words) > 40 else words


def _tick(words: str, chosen: bool) -> str:
    return f"✓ {words}" if chosen else words


def _score(values: Sequence[float], measure: Measure) -> str:
    return (share(values) if measure.share else spread(values)) if values else "–"


def _gain(line: Entry, measure: Measure) -> Node:
    if line.gain is None or not finite(line.gain):
        return "–"
    if measure.share:
        return f"{signed(100 * line.gain, 1)} pp"
    return signed(line.gain)


def _beside(board: Board) -> Node:
    """Where two or more of them are looked at together."""
    chosen = [line.cards[-1].id for line in board.lines if line.chosen and line.cards]
    if len(chosen) < 2:
        return None
    words: list[Node] = ["Side by side: "]
    if board.kind == "series":
        words += [kit.link("forecasts", "/explorer", run=chosen[:4]), " · ",
                  kit.link("errors of the two best", "/errors", run=chosen[:2]), " · "]  # fmt: skip
    words.append(kit.link("settings of the two best", "/run", run=chosen[0], against=chosen[1]))
    command = shlex.join(["forecast", "evaluate", f"compare={TASKS[board.kind]}/{board.dataset}"])
    words += [". With an interval for every difference: ", html.Code(command)]
    return kit.note(*words)


PAGE = Page(PATH, "Leaderboard", "Which model forecasts which data best, beside the simplest forecasts.", render)
