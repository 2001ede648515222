"""The window ahead: what forecasts of all its events are worth, the model beside the floors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from forecast.dashboards.charts.chart import Axis, Chart, Panel, Points, Symbol
from forecast.dashboards.charts.style import count, number
from forecast.dashboards.events.marks import brief
from forecast.dashboards.events.scores import ROLES, event_unit, plural
from forecast.dashboards.load import Run

SCORES = {  # of a window: title, and which way is better
    "tmap": ("T-mAP", 1), "tmap_weighted": ("weighted", 1), "otd": ("OTD", -1), "otd_share": ("of all deleted", -1),
    "count_mae": ("Counts, MAE", -1), "count_crps": ("Number, CRPS", -1), "brier": ("Any, Brier", -1),
}  # fmt: skip
DRAWN = {"tmap": "T-mAP, higher is better", "otd": "OTD, lower is better"}
SYMBOLS: tuple[Symbol, Symbol] = ("dot", "diamond")  # of the model and of floors
LETTERS = 26


class AheadRow(NamedTuple):
    name: str
    kind: str  # model or floor
    values: dict[str, float]

    @property
    def role(self) -> str:
        return "model" if self.kind == "model" else ROLES.get(self.name, "other")


def ahead_rows(run: Run) -> list[AheadRow]:
    """The model first; empty where no window was scored."""
    given = [row for row in run.part("horizon").get("rows") or [] if isinstance(row, dict)]
    rows = [AheadRow(str(row.get("name", "?")), str(row.get("kind", "")),
                     {key: float(row[key]) for key in SCORES if isinstance(row.get(key), int | float)})
            for row in given]  # fmt: skip
    return sorted(rows, key=lambda row: row.kind != "model")


def titles(rows: Sequence[AheadRow]) -> Mapping[str, tuple[str, int]]:
    """The scores that some row has."""
    return {key: pair for key, pair in SCORES.items() if any(key in row.values for row in rows)}


def best(rows: Sequence[AheadRow], key: str) -> float | None:
    """The best value of a score, where there are several to choose from."""
    known, sign = [row.values[key] for row in rows if key in row.values], SCORES[key][1]
    return sign * max(sign * value for value in known) if len(known) > 1 else None


def explained(run: Run) -> str:
    """What was scored, in words."""
    found = run.part("horizon")
    window: Any = found.get("window")
    ahead = f"{window:g}" if isinstance(window, int | float) else "window"
    ahead = f"{ahead} {plural(str(found.get('unit') or event_unit(run)))}"
    return (
        f"All events of the {ahead} after {count(found.get('origins'))} origins, {count(found.get('paths'))} paths "
        "from each. T-mAP: average precision of events matched in time and mark, the mean over marks, or weighted by "
        "how many came. OTD: the least cost of turning what was forecast into what came, also as a share of deleting "
        "all of it. Counts: of the events of each mark; number: of all events; any: whether one comes."
    )


def ahead_chart(run: Run) -> Chart | None:
    """T-mAP and transport distance of the window, a row for the model and for each floor."""
    rows = ahead_rows(run)
    panels, told = [], []
    for key, title in DRAWN.items():
        own = sorted((row for row in rows if key in row.values), key=lambda row: -SCORES[key][1] * row.values[key])
        if not own:
            continue
        marks = (_dots(own, key, True, run.model), _dots(own, key, False, "floors"))
        ticks = tuple(enumerate(brief([row.name for row in own], LETTERS)))
        down = Axis("", ticks=ticks, range=(-0.6, len(own) - 0.4), down=True)
        panels.append(Panel(marks, Axis(title, zero=True), down, height=0.22 * len(own) + 0.7))
        told.append(f"{title}: " + ", ".join(f"{row.name} {number(row.values[key])}" for row in own))
    if not panels:
        return None
    words = "The window ahead: the model's forecasts beside the floors, the best above."
    return Chart("ahead", "Model and floors", words, f"{words} {'. '.join(told)}.", tuple(panels), columns=2)


def _dots(rows: Sequence[AheadRow], key: str, ours: bool, name: str) -> Points:
    places = [k for k, row in enumerate(rows) if (row.kind == "model") == ours]
    values = [rows[k].values[key] for k in places]
    words = [f"{rows[k].name}: {number(value)}" for k, value in zip(places, values, strict=True)]
    role, symbol = ("model", SYMBOLS[0]) if ours else ("seasonal", SYMBOLS[1])
    return Points(values, places, name, role=role, symbol=symbol, size=7, words=words)
