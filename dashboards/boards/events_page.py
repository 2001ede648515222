"""The leaderboard of event runs written: its tables to read, and CSV for programs."""

import csv
import io
import statistics
from collections.abc import Sequence

from forecast.dashboards.boards.events import EventGroup
from forecast.dashboards.boards.lines import Line
from forecast.dashboards.boards.text import Table, difference, line_name, share, spread
from forecast.dashboards.charts.style import count, duration
from forecast.dashboards.events.scores import COLUMNS, EventRow, shown

FIRST = "model · embed · head"
TEST = ("total", "time", "mark", "rmse", "mae", "accuracy")
TITLES = (
    "val NLL", "total", "difference", "time", "mark", "RMSE", "MAE", "accuracy", "parameters", "fit", "memory", "seeds",
)  # fmt: skip
HOW = (
    "Nats per event on the test part (total, time, mark: the higher the better), RMSE and MAE of the gap, accuracy of "
    "the mark; mean ± standard deviation over seeds. Lines are in the order of the validation score, by which one "
    "chooses; ✓ is the best validation of its model. Difference: of the total to the model without mixing, which knows "
    "the event before alone, or to the first line where there is none, with its 95 % interval: a bootstrap over the "
    "sequences, and over the seeds where there are several. ▲ and ▼: the interval excludes 0."
)
SCORES = tuple(column.key for column in COLUMNS)
COLUMNS_CSV = (
    "dataset", "unit", "setting", "kind", "model", "embed", "norm", "head", "variant", "chosen", "seeds", "val_nll",
    "val_nll_sd", *(f"test_{key}{end}" for key in SCORES for end in ("", "_sd")),
    *(f"delta_{key}{end}" for key in ("total", "time", "mark") for end in ("", "_low", "_high")), "against",
    "interval", "parameters", "fit_seconds", "peak_mib", "epochs", "steps", "test_events", "test_sequences", "runs",
)  # fmt: skip


def cells(line: Line) -> list[str]:
    """The figures of a line, in the order of TITLES."""
    size, seconds, memory = line.fact("parameters"), line.fact("seconds", "fit"), line.fact("memory", "peak_mib")
    total, *rest = (spread(line.values(key)) for key in TEST[:-1])
    return [
        spread(line.values("val")), total, difference(line.delta.get("total")), *rest, share(line.values("accuracy")),
        "–" if size is None else count(round(size)), "–" if seconds is None else duration(seconds),
        "–" if memory is None else f"{memory:,.0f} MiB", " ".join(map(str, line.seeds)),
    ]  # fmt: skip


def tables(groups: Sequence[EventGroup]) -> list[Table]:
    """Every line of each table, the floors last."""
    made = []
    for group in groups:
        rows = [(line_name(line, ("?", "None", "none")), cells(line)) for line in group.lines]
        rows += [(row.name, _floor(row)) for row in group.floors]
        facts = (
            f"{count(group.events)} test events of {count(group.sequences)} sequences; gaps in {group.setting.unit}s."
        )
        drawn, runs = [line.delta.get("total") for line in group.lines], sum(len(line.runs) for line in group.lines)
        made.append(Table(group.setting.title, facts, group.notes, FIRST, TITLES, rows, drawn, 2, 1, runs))
    return made


def _floor(row: EventRow) -> list[str]:
    known = {column.key: column for column in COLUMNS}
    said = {key: shown(known[key], row.values[key]) if key in row.values else "–" for key in TEST}
    total, *rest = (said[key] for key in TEST)
    return ["–", total, "–", *rest, *["–"] * (len(TITLES) - len(TEST) - 2)]


def table_csv(groups: Sequence[EventGroup]) -> str:
    """A row for each line and each floor, numbers in full."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS_CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for number, group in enumerate(groups):
        shared = {"dataset": group.setting.dataset, "unit": group.setting.unit, "setting": number,
                  "test_events": group.events, "test_sequences": group.sequences}  # fmt: skip
        for line in group.lines:
            writer.writerow({**shared, **_record(line)})
        for row in group.floors:
            scores = {f"test_{key}": row.values[key] for key in SCORES if key in row.values}
            writer.writerow({**shared, "kind": row.kind, "model": row.name, **scores})
    return out.getvalue()


def _record(line: Line) -> dict[str, object]:
    model, embed, norm, head = line.parts
    made: dict[str, object] = {
        "kind": "model", "model": model, "embed": embed, "norm": norm, "head": head, "variant": line.variant,
        "chosen": str(line.chosen).lower(), "seeds": " ".join(map(str, line.seeds)), "against": line.against,
        "interval": line.basis, "parameters": line.fact("parameters"), "fit_seconds": line.fact("seconds", "fit"),
        "peak_mib": line.fact("memory", "peak_mib"), "epochs": line.fact("epochs"), "steps": line.fact("steps"),
        "runs": " ".join(run.path.name for run in line.runs),
    }  # fmt: skip
    for key, column in (("val", "val_nll"), *((key, f"test_{key}") for key in SCORES)):
        values = line.values(key)
        mean = statistics.fmean(values)
        made[column] = mean if mean == mean else ""
        made[f"{column}_sd"] = statistics.stdev(values) if len(values) > 1 and mean == mean else ""
    for key, found in line.delta.items():
        made |= {f"delta_{key}": found.value, f"delta_{key}_low": found.low, f"delta_{key}_high": found.high}
    return {key: "" if value is None else value for key, value in made.items()}
