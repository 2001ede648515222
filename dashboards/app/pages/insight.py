"""Insight: what a model looked at."""

from collections.abc import Sequence

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.sources import Card
from forecast.dashboards.charts.style import number
from forecast.dashboards.insight.figures import insight_figures
from forecast.dashboards.insight.stored import PICKS, Insight, Worth, read
from forecast.dashboards.insight.worth import importance
from forecast.dashboards.load import Run
from forecast.errors import ArtifactError

PATH = "/insight"
HEADS = (
    kit.Column("column", "Input", number=False),
    kit.Column("role", "Role", number=False),
    kit.Column("mean", "Increase of MSE", title="of the validation MSE (scaled), where it is taken from other windows"),
    kit.Column("sd", "sd over repeats"),
    kit.Column("se", "se over windows"),
    kit.Column("share", "÷ own past", title="as a share of what the targets' own past is worth"),
)


def render(view: View) -> Node:
    """What stands below the heading."""
    cards = [card for card in view.sources.cards() if card.path is not None and card.finished and not card.damage]
    if not cards:
        return kit.empty("No runs yet", f"There is no finished run in {view.sources.folder}.", "forecast train")
    chosen = view.one("run") or next((card.id for card in cards if _has(card)), cards[0].id)
    run = view.sources.run(chosen)
    try:
        found = read(run)
    except ArtifactError as fault:  # the list of runs stays, to choose another
        return [kit.controls(_runs(cards, view, chosen)), kit.alarm(str(fault))]
    head = [_runs(cards, view, chosen), _picks(view, found)]
    return [kit.controls(*head), *(_missing(run) if found is None else _shown(run, found, view))]


def _has(card: Card) -> bool:
    return card.path is not None and (card.path / "insight.json").is_file()


def _runs(cards: Sequence[Card], view: View, chosen: str) -> Node:
    options = [(card.id, f"{card.dataset} · {card.model} · {card.id}") for card in cards]
    return kit.choose("run", "Run", options, view, other=chosen, drops=("pick",))


def _picks(view: View, found: Insight | None) -> Node:
    if found is None:
        return None
    options = [
        (str(held["pick"]), f"{held['pick']}: {held.get('series', '')} {held.get('cutoff') or ''}".rstrip())
        for held in found.windows
        if held.get("pick") in PICKS
    ]
    return kit.choose("pick", "Window", options, view, other="median") if len(options) > 1 else None


def _missing(run: Run) -> list[Node]:
    words = "This run does not say what its model looked at: it is older, or was trained with insight=false."
    return [kit.empty("Nothing written", words, f"forecast evaluate run={run.path.name} insight=true")]


def _shown(run: Run, found: Insight, view: View) -> list[Node]:
    pick = view.one("pick", "median")
    window = PICKS.index(pick) if pick in PICKS else 1
    charts = {chart.name: chart for chart in insight_figures(found, window)}
    layers = [charts[name] for name in ("sparsity", "weights") if name in charts]
    halves = [charts[name] for name in ("kept", "lengths", "newest", "effective") if name in charts]
    back = [charts[name] for name in ("reach", "past", "depends") if name in charts]
    worth = [kit.graph(importance(found), view), _table(found, view)]
    return [
        kit.tiles(_tiles(found)),
        kit.section(
            "Attention", *(kit.graph(chart, view) for chart in layers),
            kit.grid(*(kit.graph(chart, view) for chart in halves)) if halves else None, key="attention",
        ),
        kit.section("How far back", *(kit.graph(chart, view) for chart in back), key="reach"),
        kit.section("Inputs", *worth, key="inputs") if found.worth else None,
        kit.note(kit.link("The run", "/run", run=run.path.name), f" · {_cost(found)}"),
    ]  # fmt: skip


def _tiles(found: Insight) -> list[tuple[str, str, str]]:
    tiles = [("Encoder", found.encoder, "causal" if found.facts.get("causal") else "looks both ways")]
    kept = [layer for layer in found.layers if "kept" in layer]
    if kept:
        tiles.append(("Queries kept", f"{kept[0]['kept']} of {kept[0]['tokens']}", "in the first layer"))
    if found.layers and "effective" in found.layers[0]:
        tiles.append(("Effective steps", number(found.layers[0]["effective"]), "of the last output, first layer"))
    holds = found.reach.get("holds")
    holds = holds.get("90") if isinstance(holds, dict) else None
    if isinstance(holds, list) and holds:
        tiles.append(("90 % of the gradient", str(sorted(holds)[len(holds) // 2]), f"newest {found.unit}s"))
    if isinstance(found.reach.get("construction"), int):
        tiles.append(("Reach by construction", str(found.reach["construction"]), f"of {found.tokens} {found.unit}s"))
    return tiles


def _table(found: Insight, view: View) -> Node:
    if not found.worth:
        return None
    own = next((row.mean for row in found.worth if row.role == "own past"), 0.0)
    keys = {key: _key(key) for key in ("column", "role", "mean", "sd", "se")} | {"share": _key("mean")}
    rows = kit.order(found.worth, keys, view, "-mean")
    cells = [
        [row.column, row.role, number(row.mean), number(row.sd), number(row.se),
         f"{number(100 * row.mean / own)} %" if own > 0 else "–"]
        for row in rows
    ]  # fmt: skip
    return kit.table("What each input is worth", HEADS, cells, view, PATH)


def _key(name: str):  # type: ignore[no-untyped-def]
    def key(row: Worth):  # type: ignore[no-untyped-def]
        return getattr(row, name)

    return key


def _cost(found: Insight) -> str:
    spent = found.facts.get("seconds")
    seconds = sum(v for v in spent.values() if isinstance(v, int | float)) if isinstance(spent, dict) else 0.0
    return f"measured in {number(seconds)} s after the training"


PAGE = Page(PATH, "Insight", "What a model looked at, how far back it reaches, and what each input is worth.", render)
