"""How good the model is, in words and in tables: always beside the naive forecasts, better or worse."""

import math
from collections.abc import Iterable, Sequence

import polars as pl

from forecast.dashboards.charts.style import count, number, role_of
from forecast.dashboards.load import Row, Run
from forecast.dashboards.page import note, swatch, table, text

SCALED = {"mse": "MSE", "mae": "MAE", "rmse": "RMSE"}
ORIGINAL = {"mae": "MAE", "rmse": "RMSE", "bias": "Bias", "mase": "MASE", "smape": "sMAPE", "wape": "WAPE"}
IN_UNITS = ("mae", "rmse", "bias")
NOTE = (
    "The lowest error of each column is bold (bias: the nearest to zero). Scaled: 1 is one standard "
    "deviation of the training rows. MASE: 1 is the mean error of the seasonal naive forecast on the "
    "training rows. sMAPE lies between 0 and 2. WAPE: summed absolute errors over summed absolute values."
)
Value = float | None


def headline(run: Run) -> tuple[str, str, str]:
    """The result in words, a verdict, and its tone: "good", "bad" or ""."""
    rows = [row for row in run.rows if math.isfinite(row.scaled.get("mse", math.nan))]
    model = next((row for row in rows if row.kind == "model"), None)
    if model is None:
        return "This run has no scores.", "", ""
    mine = model.scaled["mse"]
    rivals = sorted((row for row in rows if row in run.naive_rows), key=lambda row: row.name != run.naive)
    rivals += [row for row in rows if row in run.baseline_rows and row.windows is None]  # of the same windows
    simple = "simple forecast" if not run.baseline_rows else "forecast"
    windows = (run.metrics.get("windows") or {}).get("test")
    over = f" over {windows:,d} test windows" if isinstance(windows, int) else ""
    against = listed([f"{_against(mine, row.scaled['mse'])} {row.name}" for row in rivals])
    words = f"MSE {number(mine, 3)} (scaled){over}{': ' + against if against else ''}."
    if not rivals:
        return words, "", ""
    better = sorted((row for row in rivals if row.scaled["mse"] < mine), key=lambda row: row.scaled["mse"])
    names = f"{listed([row.name for row in better])} {_is(better)} better"
    if not better:
        mae = model.scaled.get("mae", math.nan)
        closer = [row.name for row in rivals if row.scaled.get("mae", math.inf) < mae]
        if closer:  # a verdict by one score must not hide the other
            return words, f"By MSE {run.model} is the best row; by MAE {listed(closer)} {_is(closer)} better.", ""
        return words, f"{run.model} beats every {simple} beside it.", "good"
    if len(better) == len(rivals):
        return words, f"{run.model} beats none of the {simple}s beside it: {names}.", "bad"
    return words, f"{run.model} does not beat every {simple}: {names}.", "bad"


def _is(several: Sequence[object]) -> str:
    return "is" if len(several) == 1 else "are"


def _against(mine: float, other: float) -> str:
    """`20 % below`, `2.0 % above`, `level with`, `3.1 times`."""
    if other <= 0:
        return "above" if mine > 0 else "level with"
    change = mine / other - 1
    if abs(change) < 0.0005:
        return "level with"
    if change >= 1:
        return f"{number(mine / other, 2)} times"
    percent = abs(change) * 100
    fine = percent < 9.95 or percent > 99
    return f"{percent:.{1 if fine else 0}f}\u00a0% {'above' if change > 0 else 'below'}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1] if words else ""


def score_table(run: Run) -> list[str]:
    """The model beside the naive rows, scaled and in original units."""
    rows = run.rows
    if not rows:
        return [note("This run wrote no scores (metrics.json is missing or has no rows).")]
    scaled = [key for key in SCALED if _any(row.scaled.get(key) for row in rows)]
    original = [key for key in ORIGINAL if _any(row.original.get(key) for row in rows)]
    unit, yardstick = run.unit, run.yardstick
    named = f"Original units{f' ({text(unit)})' if unit else ''}"
    named = named if any(key in IN_UNITS for key in original) else "Free of units"
    head = _head(
        "Forecast",
        [("Scaled", [*(SCALED[key] for key in scaled), f"MSE ÷ {run.naive}"]),
         (named, [ORIGINAL[key] for key in original])],
    )  # fmt: skip
    body = []
    for row in rows:
        cells = [_cell(row.scaled.get(key), [r.scaled.get(key) for r in rows], k) for k, key in enumerate(scaled)]
        cells.append(f"<td>{number(_ratio(row.scaled.get('mse'), yardstick), 3)}</td>")
        for k, key in enumerate(original):
            cells.append(_cell(row.original.get(key), [r.original.get(key) for r in rows], k))
        name = f'<th scope="row">{swatch(role_of(row.name, row.kind))}{text(row.name)}</th>'
        body.append(f"<tr{' class=model' if row.kind == 'model' else ''}>{name}{''.join(cells)}</tr>")
    mixed = "" if unit is not None else " The channels differ in unit: their own errors are below, by channel."
    return [table("Scores on the test windows", head, body), note(NOTE + mixed), *_stream(run), *_beside(run)]


def _beside(run: Run) -> list[str]:
    """What the models named beside ours were fitted on."""
    return [note(text("Beside it, " + "; ".join(run.baseline_notes) + "."))] if run.baseline_notes else []


def _stream(run: Run) -> list[str]:
    """What the model is worth as a stream, or why it cannot be one."""
    facts = run.part("stream")
    if "refused" in facts:
        return [note(f"Not scored as a stream: {facts['refused']}; {facts.get('do', '')}.")]
    if not facts:
        return []
    return [
        note(
            f"As a stream, one state from {facts.get('origin')} on in place of a window for each forecast, its MSE is "
            f"{number(facts.get('ratio'))} of that of windows, after up to {count(facts.get('steps'))} steps; a state "
            f"takes {count(facts.get('bytes_per_series'))} bytes for each series."
        )
    ]


def channel_table(run: Run) -> list[str]:
    """Every forecast channel by channel, where there are several."""
    rows = [row for row in run.rows if row.channels]
    names = [name for name in run.targets if any(name in row.channels for row in rows)]
    if len(names) < 2:
        return []
    titles = [row.name for row in rows]
    head = _head("Channel", [("MSE, scaled", titles), ("MAE, original units", [*titles, "unit"])])
    body = []
    for name in names:
        mse = [row.channels.get(name, {}).get("mse_z") for row in rows]
        mae = [row.channels.get(name, {}).get("mae") for row in rows]
        cells = [_cell(value, mse, k) for k, value in enumerate(mse)]
        cells += [_cell(value, mae, k) for k, value in enumerate(mae)]
        unit = f"<td>{text(run.units.get(name, '–'))}</td>"
        body.append(f'<tr><th scope="row">{text(name)}</th>{"".join(cells)}{unit}</tr>')
    return ["<h3>By channel</h3>", table("Errors by channel", head, body)]


def series_table(run: Run, frame: pl.DataFrame) -> str:
    """`frame` (unique_id, mse, naive_mse, mae, naive_mae) as a table."""
    columns = (("mse", "naive_mse"), ("mae", "naive_mae"))
    names = [run.model, run.naive]
    head = _head("Series", [("MSE, scaled", names), ("MAE, scaled", names)])
    body = []
    for row in frame.iter_rows(named=True):
        cells = [_cell(row[key], [row[k] for k in both], n) for both in columns for n, key in enumerate(both)]
        body.append(f'<tr><th scope="row">{text(row["unique_id"])}</th>{"".join(cells)}</tr>')
    return table("Errors by series", head, body)


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """The scores that stand in the header: (name, figure, unit)."""
    model: Row | None = next((row for row in run.rows if row.kind == "model"), None)
    if model is None:
        return []
    found = [("MSE, scaled", number(model.scaled.get("mse")), "")]
    ratio = _ratio(model.scaled.get("mse"), run.yardstick)
    if math.isfinite(ratio):
        sign = "+" if ratio > 1 else "−"
        found.append((f"MSE against {run.naive}", f"{sign}{abs(ratio - 1) * 100:,.1f}\u00a0%", ""))
    if run.unit is not None and _any([model.original.get("mae")]):
        found.append(("MAE", number(model.original["mae"]), run.unit))
    return found


def _head(first: str, groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Two rows of headings; the names of groups are ready HTML."""
    groups = [group for group in groups if group[1]]
    above = "".join(
        f'<th class="group edge" scope="colgroup" colspan="{len(names)}">{title}</th>' for title, names in groups
    )
    below = "".join(
        f'<th scope="col"{_edge(k)}>{text(name)}</th>' for _, names in groups for k, name in enumerate(names)
    )
    return f'<tr><td></td>{above}</tr><tr><th scope="col">{text(first)}</th>{below}</tr>'


def _edge(k: int) -> str:
    return ' class="edge"' if k == 0 else ""


def _cell(value: Value, column: Sequence[Value], k: int) -> str:
    """A figure of the k-th column of its group, bold where no other row's is nearer to zero."""
    sizes = [abs(v) for v in column if v is not None and math.isfinite(v)]
    best = value is not None and len(sizes) > 1 and number(abs(value)) == number(min(sizes))
    return f"<td{_edge(k)}>{f'<strong>{number(value)}</strong>' if best else number(value)}</td>"


def _ratio(mine: Value, row: Row | None) -> float:
    other = row.scaled.get("mse") if row else None
    return mine / other if mine is not None and other is not None and other > 0 else math.nan


def _any(values: Iterable[Value]) -> bool:
    return any(isinstance(v, float) and math.isfinite(v) for v in values)
