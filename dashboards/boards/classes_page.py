"""The leaderboard of classification runs written: its tables to read, and CSV for programs."""

import csv
import io
import statistics
from collections.abc import Sequence

from forecast.dashboards.boards.classes import Across, ClassGroup, Other, across, ahead
from forecast.dashboards.boards.lines import Line, mean
from forecast.dashboards.boards.text import Table, difference, line_name, share, signed, spread
from forecast.dashboards.charts.style import count, duration
from forecast.dashboards.classes.scores import COLUMNS

FIRST = "model · embed · head"
TITLES = (
    "val log loss", "accuracy", "difference", "to the rival", "balanced", "macro-F1", "log loss", "ECE", "parameters",
    "fit", "memory", "seeds",
)  # fmt: skip
SUMMARY = ("mean accuracy", "difference", "mean rank", "best on")
HOW = (
    "Scores on the test part, mean ± standard deviation over seeds. Lines are in the order of the validation score, by "
    "which one chooses; ✓ is the best validation of its model. Difference: of the accuracy, in percentage points, to "
    "the model without mixing, or to the first line where there is none, with its 95 % interval: a bootstrap over the "
    "test series, and over the seeds where there are several. ▲ and ▼: the interval excludes 0. To the rival: accuracy "
    "less that of the best rival measured in the same run, in points. Over several data sets a model is its best "
    "validation on each."
)
SCORES = tuple(column.key for column in COLUMNS)
COLUMNS_CSV = (
    "dataset", "setting", "kind", "model", "embed", "norm", "head", "variant", "chosen", "seeds", "val_log_loss",
    "val_log_loss_sd", *(f"test_{key}{end}" for key in SCORES for end in ("", "_sd")),
    *(f"delta_{key}{end}" for key in ("accuracy", "log_loss") for end in ("", "_low", "_high")), "against", "interval",
    "to_rival", "rank", "parameters", "fit_seconds", "peak_mib", "epochs", "steps", "test_series", "classes", "runs",
)  # fmt: skip
ALL = "all"


def cells(line: Line) -> list[str]:
    """The figures of a line, in the order of TITLES."""
    size, seconds, memory = line.fact("parameters"), line.fact("seconds", "fit"), line.fact("memory", "peak_mib")
    return [
        spread(line.values("val")), share(line.values("accuracy")), difference(line.delta.get("accuracy"), 2, 100.0),
        _over(ahead(line)), share(line.values("balanced_accuracy")), *(spread(line.values(key)) for key in
        ("macro_f1", "log_loss")), share(line.values("ece")), "–" if size is None else count(round(size)),
        "–" if seconds is None else duration(seconds), "–" if memory is None else f"{memory:,.0f} MiB",
        " ".join(map(str, line.seeds)),
    ]  # fmt: skip


def _over(values: Sequence[float]) -> str:
    if not values:
        return "–"
    said = signed(100 * mean(values), 2)
    return said if len(values) < 2 else f"{said} ± {100 * statistics.stdev(values):.2g}"


def tables(groups: Sequence[ClassGroup]) -> list[Table]:
    """Of several data sets the table of all of them first; then every line of each, rivals and floors last."""
    made = [_all(groups)] if len({group.setting.dataset for group in groups}) == len(groups) > 1 else []
    for group in groups:
        rows = [(line_name(line, ("?", "None", "none")), cells(line)) for line in group.lines]
        rows += [(row.name, _other(row)) for row in group.others]
        facts = f"{count(group.series)} test series of {count(group.classes)} classes."
        drawn, runs = [line.delta.get("accuracy") for line in group.lines], sum(len(line.runs) for line in group.lines)
        made.append(Table(group.setting.title, facts, group.notes, FIRST, TITLES, rows, drawn, 2, 1, runs))
    return made


def _other(row: Other) -> list[str]:
    def said(key: str) -> str:
        values = row.values.get(key, [])
        return "–" if not values else spread(values) if key in ("macro_f1", "log_loss") else share(values)

    first, *rest = map(said, SCORES)
    return ["–", first, "–", "–", *rest, *["–"] * (len(TITLES) - 4 - len(rest))]


def _all(groups: Sequence[ClassGroup]) -> Table:
    """Accuracies by data set, and their mean."""
    rows, found = [], across(groups)
    tops = [max((mean(row.values[k]) for row in found if row.values[k]), default=0.0) for k in range(len(groups))]
    for row in found:
        won = sum(bool(values) and mean(values) == top for values, top in zip(row.values, tops, strict=True))
        rank = f"{row.rank:.2f}" if row.rank >= 1 else "–"
        figures = [_mean(row), difference(row.delta, 2, 100.0), rank, f"{won} of {len(groups)}"]
        rows.append((row.name, [*figures, *(share(values) if values else "–" for values in row.values)]))
    titles = (*SUMMARY, *(group.setting.title for group in groups))
    drawn = [row.delta for row in found if row.kind == "model"]
    facts = (
        f"Accuracy on {len(groups)} data sets; means and ranks (1: the best of models and rivals) of those that have "
        "all of them."
    )
    # The runs are counted in the tables below.
    return Table(f"All {len(groups)} data sets", facts, [], "model", titles, rows, drawn, 1, 1, 0)


def _mean(row: Across) -> str:
    """The mean over data sets; with its deviation over seeds where each has as many."""
    if not all(row.values):
        return "–"
    sizes = {len(values) for values in row.values}
    return share([mean(each) for each in zip(*row.values, strict=True)] if len(sizes) == 1 else [_average(row)])


def _average(row: Across) -> float:
    return mean([mean(values) for values in row.values])


def table_csv(groups: Sequence[ClassGroup]) -> str:
    """A row for each line, rival and floor, numbers in full; those of all data sets at the end."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS_CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for number, group in enumerate(groups):
        shared = {"dataset": group.setting.dataset, "setting": number, "test_series": group.series,
                  "classes": group.classes}  # fmt: skip
        for line in group.lines:
            writer.writerow({**shared, **_record(line)})
        for row in group.others:
            writer.writerow({**shared, "kind": row.kind, "model": row.name, **_scores(row.values)})
    if len({group.setting.dataset for group in groups}) == len(groups) > 1:
        for each in across(groups):
            writer.writerow({"dataset": ALL, "kind": each.kind, "model": each.name, **_summary(each)})
    return out.getvalue()


def _summary(row: Across) -> dict[str, object]:
    made: dict[str, object] = {"rank": row.rank} if row.rank >= 1 else {}
    if all(row.values):
        made["test_accuracy"] = _average(row)
    if row.delta is not None:
        made |= {"delta_accuracy": row.delta.value, "delta_accuracy_low": row.delta.low,
                 "delta_accuracy_high": row.delta.high}  # fmt: skip
    return {key: "" if value is None else value for key, value in made.items()}


def _scores(values: dict[str, list[float]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, each in values.items():
        made[f"test_{key}"] = mean(each)
        made[f"test_{key}_sd"] = statistics.stdev(each) if len(each) > 1 else ""
    return made


def _record(line: Line) -> dict[str, object]:
    model, embed, norm, head = line.parts
    over, val = ahead(line), line.values("val")
    made: dict[str, object] = {
        "kind": "model", "model": model, "embed": embed, "norm": norm, "head": head, "variant": line.variant,
        "chosen": str(line.chosen).lower(), "seeds": " ".join(map(str, line.seeds)), "against": line.against,
        "interval": line.basis, "to_rival": mean(over) if over else None, "parameters": line.fact("parameters"),
        "fit_seconds": line.fact("seconds", "fit"), "peak_mib": line.fact("memory", "peak_mib"),
        "epochs": line.fact("epochs"), "steps": line.fact("steps"),
        "runs": " ".join(run.path.name for run in line.runs), "val_log_loss": mean(val),
        "val_log_loss_sd": statistics.stdev(val) if len(val) > 1 else "",
    }  # fmt: skip
    known = {key: line.values(key) for key in SCORES}
    made |= _scores({key: values for key, values in known.items() if mean(values) == mean(values)})
    for key, found in line.delta.items():
        made |= {f"delta_{key}": found.value, f"delta_{key}_low": found.low, f"delta_{key}_high": found.high}
    return {key: "" if value is None else value for key, value in made.items()}
