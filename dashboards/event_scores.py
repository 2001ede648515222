"""How good a model of events is, in words and in tables: always beside the floors, better or worse, column by column."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from forecast.dashboards.load import Run
from forecast.dashboards.page import note, swatch, table, text
from forecast.dashboards.style import count, number, role_of


class Column(NamedTuple):
    """A column of the score table: where it stands in a row of metrics.json, and which way is better."""

    key: str
    title: str
    group: str
    sign: int  # 1: the higher the better; -1: the lower
    how: str  # of a difference: "nats", "percent", "points"


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
OF_TIME, OF_MARKS = ("time", "rmse", "mae", "calibration", "ks"), ("mark", "accuracy", "macro_f1")
PLOTTED = {"mixture": "seasonal", "constant gap": "last", "Poisson": "other", "majority mark": "last",
           "repeat-last mark": "other", "Markov marks": "ridge", "mixture and Markov marks": "seasonal"}  # fmt: skip


class EventRow(NamedTuple):
    """A row of the score table: the model, or a floor; what it does not have is not in `values`."""

    name: str
    kind: str
    values: dict[str, float]
    pit: list[float]  # shares of events by equal parts of (0, 1), empty where there are none

    @property
    def role(self) -> str:
        return "model" if self.kind == "model" else PLOTTED.get(self.name, role_of(self.name, "baseline"))


def event_rows(run: Run) -> list[EventRow]:
    """The score table, the model first, then the floors that say the most."""
    found = [_row(row) for row in run.metrics.get("rows") or [] if isinstance(row, dict)]
    return sorted(found, key=lambda row: (row.kind != "model", -len(row.values), row.name))


def _row(row: dict[str, Any]) -> EventRow:
    nats = row["nats"] if isinstance(row.get("nats"), dict) else {}
    given = {**{key: nats.get(key) for key in ("time", "mark", "total")},
             **{column.key: row.get(column.key) for column in COLUMNS[3:]}, "survival": row.get("survival")}  # fmt: skip
    values = {key: float(value) for key, value in given.items()
              if isinstance(value, int | float) and math.isfinite(value)}  # fmt: skip
    pit = row.get("pit") if isinstance(row.get("pit"), list) else []
    return EventRow(str(row.get("name", "?")), str(row.get("kind", "")), values, [float(share) for share in pit])


def the_model(run: Run) -> EventRow | None:
    return next((row for row in event_rows(run) if row.kind == "model"), None)


def columns(run: Run) -> list[Column]:
    """The columns that some row has; of marks only where there are several."""
    rows, marked = event_rows(run), len(run.metrics.get("marks") or []) != 1
    return [column for column in COLUMNS if any(column.key in row.values for row in rows)
            and (marked or (column.key not in OF_MARKS and column.key != "total"))]  # fmt: skip


def rival(run: Run, column: Column) -> EventRow | None:
    """The best floor of a column."""
    floors = [row for row in event_rows(run) if row.kind != "model" and column.key in row.values]
    return max(floors, key=lambda row: column.sign * row.values[column.key], default=None)


def advantage(run: Run, column: Column) -> float | None:
    """How much better the model is than the best floor, in the column's own measure; below 0: worse."""
    model, floor = the_model(run), rival(run, column)
    if model is None or floor is None or column.key not in model.values:
        return None
    return column.sign * (model.values[column.key] - floor.values[column.key])


def headline(run: Run) -> tuple[str, str, str]:
    """The result in words, a verdict, and its tone: "good", "bad" or ""."""
    model = the_model(run)
    if model is None or not model.values:
        return "This run has no scores.", "", ""
    unit, values, marked = event_unit(run), model.values, len(run.metrics.get("marks") or []) != 1
    words = []
    if marked and "accuracy" in values:
        words.append(f"of the next events, {percent(values['accuracy'])} of the marks are guessed right")
    if "mae" in values:
        words.append(f"the median forecast of the gap is off by {number(values['mae'], 3)} {plural(unit)} on average")
    said = "; ".join(words)
    total = main_column(run)
    gain = advantage(run, total) if total else None
    if gain is not None:
        floor = rival(run, total) if total else None
        against = f"{signed(gain)} nats per event against the best floor ({floor.name if floor else ''})"
        said = f"{said}; {against}" if said else against
    verdict, tone = _verdict(run)
    return f"{said[:1].upper()}{said[1:]}." if said else "", verdict, tone


def main_column(run: Run) -> Column | None:
    """Total nats, or those of time where events have one mark."""
    known = {column.key: column for column in columns(run)}
    return known.get("total") or known.get("time")


def _verdict(run: Run) -> tuple[str, str]:
    found = [(column, gain) for column in columns(run) if (gain := advantage(run, column)) is not None]
    worse = [column for column, gain in found if gain < 0]
    first = main_column(run)
    lead = advantage(run, first) if first else None
    times = ""
    if lead is not None and abs(lead) < 5:
        ratio = number(math.exp(lead), 3)
        times = f" It gives what came {ratio} times the probability that the best floor gives it (geometric mean)."
    if not found:
        return "", ""
    if not worse:
        return f"{run.model} beats every floor in every column.{times}", "good"
    names = ", ".join(f"{rival(run, column).name} by {_named(column)}" for column in worse)  # type: ignore[union-attr]
    if first in worse:
        return f"{run.model} does not beat every floor: better are {names}.{times}", "bad"
    return f"{run.model} leads by nats; better are {names}.{times}", ""


def _named(column: Column) -> str:
    return f"{column.title.lower()} nats" if column.how == "nats" else {"accuracy": "accuracy", "ks": "KS"}.get(
        column.key, column.title
    )  # fmt: skip


def tiles(run: Run, coverage: float | None) -> list[tuple[str, str, str]]:
    """The scores that stand in the header: (name, figure, unit). `coverage` of the 90 % interval of the gap."""
    model = the_model(run)
    if model is None:
        return []
    made, first = [], main_column(run)
    gain = advantage(run, first) if first else None
    if first and first.key in model.values:
        made.append((f"{'Log-likelihood' if first.key == 'total' else 'Log-density of the gap'}",
                     number(model.values[first.key]), "nats per event"))  # fmt: skip
    if gain is not None:
        made.append(("Over the best floor", signed(gain), "nats"))
    if "accuracy" in model.values and len(run.metrics.get("marks") or []) != 1:
        made.append(("Marks guessed right", percent(model.values["accuracy"]), ""))
    if "mae" in model.values:
        made.append(("Gap, mean error of the median", number(model.values["mae"], 3), plural(event_unit(run))))
    if coverage is not None:
        made.append(("Inside the 90 % interval", percent(coverage), "of gaps"))
    return made


def score_table(run: Run) -> list[str]:
    """The model beside all floors, the best of each column bold, and a verdict under each column."""
    rows, shown = event_rows(run), columns(run)
    if not rows:
        return [note("This run wrote no scores (metrics.json is missing or has no rows).")]
    unit = event_unit(run)
    groups: dict[str, list[Column]] = {}
    for column in shown:
        title = f"Gap ({plural(unit)})" if column.group == "Gap" else column.group
        groups.setdefault(title, []).append(column)
    above = "".join(f'<th class="group edge" scope="colgroup" colspan="{len(held)}">{text(title)}</th>'
                    for title, held in groups.items())  # fmt: skip
    first = {held[0].key for held in groups.values()}
    edge = {column.key: ' class="edge"' if column.key in first else "" for column in shown}
    below = "".join(f'<th scope="col"{edge[column.key]}>{text(column.title)}<span class="aim">'
                    f"{'↑' if column.sign > 0 else '↓'}</span></th>" for column in shown)  # fmt: skip
    head = f'<tr><td></td>{above}</tr><tr><th scope="col">Forecast</th>{below}</tr>'
    body = []
    for row in rows:
        cells = "".join(f"<td{edge[column.key]}>{_cell(row, column, rows)}</td>" for column in shown)
        name = f'<th scope="row">{swatch(row.role)}{text(row.name)}</th>'
        body.append(f"<tr{' class=model' if row.kind == 'model' else ''}>{name}{cells}</tr>")
    gains = "".join(f"<td{edge[column.key]}>{_gain(run, column)}</td>" for column in shown)
    body.append(f'<tr class="gain"><th scope="row">Model against the best floor</th>{gains}</tr>')
    return [table("Scores on the test events", head, body), note(_note(run))]


def _cell(row: EventRow, column: Column, rows: Sequence[EventRow]) -> str:
    value = row.values.get(column.key)
    if value is None:
        return '<span class="none">–</span>'
    known = [each.values[column.key] for each in rows if column.key in each.values]
    best = len(known) > 1 and shown(column, value) == shown(column, column.sign * max(column.sign * v for v in known))
    return f"<strong>{shown(column, value)}</strong>" if best else shown(column, value)


def shown(column: Column, value: float) -> str:
    if column.how == "points":
        return percent(value)
    if column.key in OF_MARKS or column.group == "Calibration":
        return f"{value:.3f}".replace("-", "−")
    return f"{value:.3f}".replace("-", "−") if column.how == "nats" else number(value)


def _gain(run: Run, column: Column) -> str:
    """`+0.340`, `14.1 % lower`, with the tone of better or worse in words and colour."""
    gain, floor = advantage(run, column), rival(run, column)
    if gain is None or floor is None:
        return '<span class="none">–</span>'
    other = floor.values[column.key]
    if column.how == "percent":
        words = f"{abs(gain / other) * 100:.1f}\u00a0% {'lower' if gain > 0 else 'higher'}" if other else "–"
    elif column.how == "points":
        words = f"{'+' if gain >= 0 else '−'}{abs(gain) * 100:.1f} points"
    else:
        words = signed(gain)
    if gain == 0 or words in ("+0.000", "+0.0 points"):
        return '<span class="none">level</span>'
    tone, sign, word = ("good", "▲", "better") if gain > 0 else ("bad", "▼", "worse")
    return f'<span class="{tone}" title="{word} than {text(floor.name)}">{sign}\u00a0{words}</span>'


def _note(run: Run) -> str:
    unit, grid = event_unit(run), run.metrics.get("grid") or 0
    cell = f"a gap is a cell of its grid of {number(grid, 3)} {plural(unit)}, its density the mean one of that cell"
    return (
        "The best of each column is bold; ↑ the higher the better, ↓ the lower. Nats: the mean log of what was given "
        f"to that which came; of time it is a density per {unit}, which with another unit is another number"
        f"{f', and {cell}' if grid else ''}. RMSE is that of the mean, MAE that of the median forecast. Calibration: "
        "how far the distribution of F(gap) is from a uniform one, on average (error) and at most (KS). ▲ better and "
        "▼ worse than the best floor of that column."
    )


def horizon_table(run: Run) -> list[str]:
    """What forecasts of the whole window ahead are worth; nothing where they were not scored."""
    found = run.part("horizon")
    rows = [row for row in found.get("rows") or [] if isinstance(row, dict)]
    if not rows:
        return []
    names = {"tmap": ("T-mAP", 1), "otd": ("OTD", -1), "count_mae": ("MAE of the number", -1)}
    more = {key for row in rows for key, value in row.items() if isinstance(value, int | float)} - set(names)
    titles = {key: pair for key, pair in names.items() if any(key in row for row in rows)}
    titles |= {key: (key.replace("_", " "), 0) for key in sorted(more)}
    aims = {1: "↑", -1: "↓", 0: ""}
    head = "".join(f'<th scope="col">{text(t)}<span class="aim">{aims[sign]}</span></th>' for t, sign in titles.values())
    body = []
    for row in sorted(rows, key=lambda row: row.get("kind") != "model"):
        cells = ""
        for key, (_, sign) in titles.items():
            value, known = row.get(key), [r[key] for r in rows if isinstance(r.get(key), int | float)]
            best = sign and len(known) > 1 and value == sign * max(sign * v for v in known)
            cells += f"<td><strong>{number(value)}</strong></td>" if best else f"<td>{number(value)}</td>"
        role = "model" if row.get("kind") == "model" else PLOTTED.get(str(row.get("name")), "other")
        name = f'<th scope="row">{swatch(role)}{text(row.get("name", "?"))}</th>'
        body.append(f"<tr{' class=model' if row.get('kind') == 'model' else ''}>{name}{cells}</tr>")
    ahead = f"{number(found.get('window'), 3)} {plural(str(found.get('unit') or event_unit(run)))}"
    words = (
        f"All events of the {ahead} after {count(found.get('origins'))} origins, from {count(found.get('paths'))} paths "
        "each. T-mAP: average precision of events matched in time and mark, the mean over marks. OTD: the least cost of "
        "turning what was forecast into what came. The number: of events in the window."
    )
    return [table("Scores of the window ahead", f'<tr><th scope="col">Forecast</th>{head}</tr>', body), note(words)]


def event_unit(run: Run) -> str:
    return str(run.metrics.get("unit") or run.card.get("unit") or "unit of time")


def plural(unit: str) -> str:
    return unit if unit.endswith("s") or unit.startswith("unit") else f"{unit}s"


def percent(share: float) -> str:
    """`93 %`, finer where it is near to all or nothing."""
    fine = share >= 0.995 or share < 0.1
    return f"{share * 100:.{2 if fine and share < 1 else 1}f}\u00a0%"


def signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.3f}"
