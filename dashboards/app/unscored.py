"""Runs that stand in no table of the leaderboard, and why: not finished, damaged, known to MLflow only."""

from collections.abc import Mapping, Sequence
from typing import Final

from dash import html

from forecast.dashboards.app import kit
from forecast.dashboards.app.kit import Column
from forecast.dashboards.app.page import Node, View
from forecast.dashboards.app.sources import Card
from forecast.dashboards.app.standing import MEASURES, comparable, finite
from forecast.dashboards.charts.style import count, number

NAMED: Final = 5  # runs without scores in sight; more are folded away


def unfinished(view: View, cards: Sequence[Card], path: str) -> Node:
    """Runs that stand in no table, and why."""
    lost = [card for card in cards if card.path is not None and not comparable(card)]
    if not lost:
        return None
    columns = [Column("run", "Run", False), Column("model", "Model", False), Column("dataset", "Data set", False),
               Column("why", "Why it stands in no table", False)]  # fmt: skip
    rows = [
        [
            kit.link(card.id, "/run", run=card.id),
            card.model,
            card.dataset or "–",
            html.Span(why(card), className="long"),
        ]
        for card in lost
    ]
    table = kit.table("Runs without scores", columns, rows, view, path, sort=False, prefix="u")
    open_ = len(lost) <= NAMED or "upage" in view.query
    return kit.section(
        "Not finished, or damaged", table if open_ else kit.fold(f"{len(lost):,d} runs without scores", table)
    )


def why(card: Card) -> str:
    """Why a run of a folder stands in no table, in a sentence."""
    if card.damage:
        return f"Damaged: {card.damage}"
    if not card.finished:
        return f"Not finished: it is training, or was interrupted; go on with: forecast train resume={card.path}"
    if not card.scores:
        return "It has no test scores: its data had no test part, or it was told to score none."
    return "data.json is missing: nothing says which data its scores are of."


def tracked(view: View, cards: Sequence[Card], path: str) -> Node:
    """What MLflow's server has besides."""
    known = view.sources.tracked()
    only = [card for card in cards if card.path is None]
    if known.state == "none" or (known.state == "ok" and not only):
        return None
    parts: list[Node] = [kit.note(known.words)] if known.state == "down" else []
    if only:
        columns = [Column("run", "Run", False), Column("model", "Model", False), Column("dataset", "Data set", False),
                   Column("horizon", "Horizon"), Column("seed", "Seed"), Column("score", "Test"),
                   Column("state", "State", False)]  # fmt: skip
        rows = [_elsewhere(card, known.links) for card in only]
        parts.append(kit.table("Runs known to MLflow only", columns, rows, view, path, sort=False, prefix="m"))
        parts.append(kit.note("Their folders are not here: no page but this one can show them."))
    return kit.section("Known to MLflow only" if only else "MLflow", *parts)


def _elsewhere(card: Card, links: Mapping[str, str]) -> list[Node]:
    found = [(m, card.scores[m.key]) for m in MEASURES[card.kind] if finite(card.scores.get(m.key))]
    score = f"{found[0][0].title} {number(found[0][1])}" if found else "–"
    whole = [count(value) if value is not None else "–" for value in (card.horizon, card.seed)]
    name = kit.outside(card.id, links[card.id]) if card.id in links else card.id
    return [name, card.model, card.dataset or "–", *whole, score, "finished" if card.finished else "not finished"]
