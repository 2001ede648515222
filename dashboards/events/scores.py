"""How good a model of events is, in words and in a table: always beside the floors, better or worse by each column."""

import math
from typing import Any, NamedTuple

from forecast.dashboards.charts.style import number, role_of
from forecast.dashboards.load import Run
from forecast.dashboards.measures import Column, best_other, lead, measured, percent, signed
from forecast.dashboards.page import note

COLUMNS = (
    Column("time", "Time", "Nats per event", 1, "nats"),
    Column("mark", "Mark", "Nats per event", 1, "nats"),
    Column("total", "Total", "Nats per event", 1, "nats"),
    Column("rmse", "RMSE", "Gap", -1, "percent"),
    Column("mae", "MAE", "Gap", -1, "percent"),
    Column("accuracy", "Accuracy", "Mark", 1, "points"),
    Column("macro_f1", "Macro-F1", "Mark", 1, "number"),
    Column("calibration", "Error", "Calibration", -1, "percent"),
    Column("ks", "KS", "Calibration", -1, "percent"),
)
OF_MARKS = ("mark", "accuracy", "macro_f1")
ROLES = {"mixture": "seasonal", "constant gap": "last", "Poisson": "other", "majority mark": "last",
           "repeat-last mark": "other", "Markov marks": "ridge", "mixture and Markov marks": "seasonal"}  # fmt: skip


class EventRow(NamedTuple):
    """A row of the score table: the model, a floor, or, where events are simulated, the oracle that knows the process;
    what it does not have is not in `values`."""

    name: str
    kind: str
    values: dict[str, float]
    pit: list[float]  # shares of events by equal parts of (0, 1), empty where there are none

    @property
    def role(self) -> str:
        if self.kind in ("model", "oracle"):
            return "model" if self.kind == "model" else "ink"
        return ROLES.get(self.name, role_of(self.name, "baseline"))


def event_rows(run: Run) -> list[EventRow]:
    """The score table, the model first, then the floors that say the most."""
    found = [_row(row) for row in run.metrics.get("rows") or [] if isinstance(row, dict)]
    if not marked(run):  # what is said of marks is the same for all, and a floor may be another's twin without them
        found = [row._replace(values={k: v for k, v in row.values.items() if k not in (*OF_MARKS, "total")})
                 for row in found]  # fmt: skip
        floors = [row.values.items() for row in found if row.kind == "floor"]
        found = [row for row in found if row.kind != "floor" or (
            row.values and not any(row.values.items() < other for other in floors))]  # fmt: skip
    return sorted(found, key=_place)


def marked(run: Run) -> bool:
    """Whether events are told apart by marks."""
    return len(run.metrics.get("marks") or []) != 1


def _place(row: EventRow) -> tuple[Any, ...]:
    """The model, then what forecasts time and mark, then time, then marks, the likelier first; the oracle last."""
    kinds = ("total", "time", "rmse", "mark", "accuracy")
    first = next((key for key in kinds if key in row.values), "")
    return (
        ("model", "floor", "oracle").index(row.kind),
        kinds.index(first) if first else len(kinds),
        -row.values.get(first, 0.0),
        row.name,
    )


def _row(row: dict[str, Any]) -> EventRow:
    nats = row["nats"] if isinstance(row.get("nats"), dict) else {}
    given = {key: row.get(key) for key in (*(column.key for column in COLUMNS[3:]), "survival")}
    given |= {key: nats.get(key) for key in ("time", "mark", "total")}
    values = {key: float(value) for key, value in given.items()
              if isinstance(value, int | float) and math.isfinite(value)}  # fmt: skip
    kind = str(row.get("kind", ""))
    pit = [float(share) for share in row.get("pit") or [] if isinstance(share, int | float)]
    return EventRow(str(row.get("name", "?")), kind if kind in ("model", "oracle") else "floor", values, pit)


def the_model(run: Run) -> EventRow | None:
    return next((row for row in event_rows(run) if row.kind == "model"), None)


def columns(run: Run) -> list[Column]:
    """The columns that some row has."""
    rows = event_rows(run)
    return [column for column in COLUMNS if any(column.key in row.values for row in rows)]


def rival(run: Run, column: Column) -> EventRow | None:
    """The best floor of a column; of equal ones that which forecasts least besides."""
    return best_other(event_rows(run), column)


def advantage(run: Run, column: Column) -> float | None:
    """How much better the model is than the best floor, in the column's own measure; below 0: worse."""
    return lead(event_rows(run), column)


def headline(run: Run) -> tuple[str, str, str]:
    """The result in words, a verdict, and its tone: "good", "bad" or ""."""
    model = the_model(run)
    if model is None or not model.values:
        return "This run has no scores.", "", ""
    unit, values = event_unit(run), model.values
    words = []
    if "accuracy" in values:
        words.append(f"of the next events, {percent(values['accuracy'])} of the marks are guessed right")
    if "mae" in values:
        words.append(f"the median forecast of the gap is off by {number(values['mae'], 3)} {plural(unit)} on average")
    said = "; ".join(words)
    total = main_column(run)
    gain = advantage(run, total) if total else None
    if gain is not None:
        floor = rival(run, total) if total else None
        over = "over" if gain >= 0 else "against"
        against = f"{signed(gain)} nats per event {over} the best floor ({floor.name if floor else ''})"
        said = f"{said}; {against}" if said else against
    verdict, tone = _verdict(run)
    return f"{said[:1].upper()}{said[1:]}." if said else "", verdict, tone


def main_column(run: Run) -> Column | None:
    """Total nats, or those of time where events have one mark."""
    known = {column.key: column for column in columns(run)}
    return known.get("total") or known.get("time")


def _verdict(run: Run) -> tuple[str, str]:
    """Better or worse than the floors, column by column, and by what factor what came is likelier."""
    found = [(column, gain) for column in columns(run) if (gain := advantage(run, column)) is not None]
    if not found:
        return "", ""
    worse, first = [column for column, gain in found if gain < 0], main_column(run)
    over = advantage(run, first) if first else None
    times = ""
    if over is not None and abs(over) < 5:
        times = (f"On average it gives what came {number(math.exp(over), 3)} times the probability that the best floor "
                 "gives it (geometric mean).")  # fmt: skip
    if not worse:
        return f"{run.model} beats every floor in every column. {times}".strip(), "good"
    better = "; ".join(f"by {_named(column)} {floor.name} is better" for column in worse
                       if (floor := rival(run, column)) is not None)  # fmt: skip
    leads = f"{run.model} does not beat every floor" if first in worse else f"{run.model} leads by nats"
    return f"{leads}; {better}. {times}".strip(), "bad" if first in worse else ""


def _named(column: Column) -> str:
    names = {"macro_f1": "macro-F1", "accuracy": "accuracy", "calibration": "calibration"}
    return f"the nats of {column.key}" if column.how == "nats" else names.get(column.key, column.title)


def tiles(run: Run, coverage: float | None) -> list[tuple[str, str, str]]:
    """The scores that stand in the header: (name, figure, unit). `coverage` of the 90 % interval of the gap."""
    model = the_model(run)
    if model is None:
        return []
    made, first = [], main_column(run)
    gain = advantage(run, first) if first else None
    if first and first.key in model.values:
        made.append(("Log-likelihood per event", signed(model.values[first.key]), "nats"))
    if gain is not None:
        made.append((f"{'Above' if gain >= 0 else 'Below'} the best floor", number(abs(gain)), "nats"))
    if "accuracy" in model.values:
        made.append(("Marks guessed right", percent(model.values["accuracy"]), ""))
    if "mae" in model.values:
        made.append(("Mean error of the gap", number(model.values["mae"], 3), plural(event_unit(run))))
    if coverage is not None:
        made.append(("Inside the 90\u00a0% interval", percent(coverage), ""))
    return made


def score_table(run: Run) -> list[str]:
    """The model beside all floors, the best of each column bold, and a verdict under each column."""
    rows, seen = event_rows(run), columns(run)
    if not rows:
        return [note("This run wrote no scores (metrics.json is missing or has no rows).")]
    titles = {"Gap": f"Gap ({plural(event_unit(run))})"}
    made = measured("Scores on the test events", rows, seen, shown, "against the best floor", titles=titles)
    return [made, note(explained(run))]


def shown(column: Column, value: float) -> str:
    if column.how == "points":
        return percent(value)
    if column.key in OF_MARKS or column.group == "Calibration":
        return f"{value:.3f}".replace("-", "−")
    return f"{value:.3f}".replace("-", "−") if column.how == "nats" else number(value)


def explained(run: Run) -> str:
    """What the numbers of the score table mean."""
    unit, grid, model = event_unit(run), run.metrics.get("grid") or 0, the_model(run)
    more = ""
    if any(row.kind == "oracle" for row in event_rows(run)):
        more += " Oracle: the process that the events were simulated from, which no forecast beats but by chance."
    if model is not None and "survival" in model.values:
        more += (
            f" That nothing came after the last event of a sequence: {signed(model.values['survival'])} nats, apart."
        )
    cell = f"a gap is a cell of its grid of {number(grid, 3)} {plural(unit)}, its density the mean one of that cell"
    return (
        "The best of each column is bold; ↑ the higher the better, ↓ the lower. Nats: the mean log of what was given "
        f"to that which came; of time it is a density per {unit}, which with another unit is another number"
        f"{f', and {cell}' if grid else ''}. RMSE is that of the mean, MAE that of the median forecast. Calibration: "
        "how far the distribution of F(gap) is from a uniform one, on average (error) and at most (KS). ▲ better and "
        f"▼ worse than the best floor of that column (pp: percentage points).{more}"
    )


def event_unit(run: Run) -> str:
    return str(run.metrics.get("unit") or run.card.get("unit") or "unit of time")


def plural(unit: str) -> str:
    return unit if unit.endswith("s") else f"{unit}s".replace("unit of times", "units of time")
