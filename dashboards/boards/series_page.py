"""The leaderboard of series written: its tables to read, and CSV for programs."""

import csv
import io
import statistics
from collections.abc import Sequence

from forecast.dashboards.boards.lines import Line
from forecast.dashboards.boards.series import Group
from forecast.dashboards.boards.text import Table, difference, line_name, spread
from forecast.dashboards.charts.style import count, duration, number

FIRST = "model · embed · norm · head"
TITLES = (
    "val MSE", "test MSE", "test MAE", "MSE − none", "streamed ÷", "state", "parameters", "fit", "memory", "seeds",
)  # fmt: skip
HOW = (
    "Scaled scores, mean ± standard deviation over seeds; lines in the order of the validation score, by which one "
    "chooses; ✓ is the best validation of its model. MSE − none: the difference to the model without mixing, all else "
    "equal where such a run is there, with its 95 % interval: a bootstrap over blocks of neighbouring test windows, "
    "and over the seeds where there are several. ▼ and ▲: the interval excludes 0. Streamed ÷: "
    "the MSE of one long stream in parts of that of windows, and the state it keeps for a series."
)
COLUMNS = (
    "dataset", "context", "horizon", "setting", "kind", "model", "embed", "norm", "head", "variant", "chosen", "seeds",
    "val_mse", "val_mse_sd", "test_mse", "test_mse_sd", "test_mae", "test_mae_sd", "delta_mse", "delta_mse_low",
    "delta_mse_high", "delta_mae", "delta_mae_low", "delta_mae_high", "against", "interval", "parameters",
    "streamed_mse", "streamed_ratio", "streamed_steps", "bytes_per_series", "fit_seconds", "peak_mib", "epochs",
    "steps", "test_windows", "runs",
)  # fmt: skip


def cells(line: Line) -> list[str]:
    """The figures of a line, in the order of TITLES."""
    size, seconds, memory = line.fact("parameters"), line.fact("seconds", "fit"), line.fact("memory", "peak_mib")
    ratio, state = line.fact("stream", "ratio"), line.fact("stream", "bytes_per_series")
    return [
        spread(line.values("val")), spread(line.values("mse")), spread(line.values("mae")),
        difference(line.delta.get("mse")), "–" if ratio is None else f"{ratio:.4f}",
        "–" if state is None else f"{count(round(state))} B", "–" if size is None else count(round(size)),
        "–" if seconds is None else duration(seconds), "–" if memory is None else f"{memory:,.0f} MiB",
        " ".join(map(str, line.seeds)),
    ]  # fmt: skip


def tables(groups: Sequence[Group]) -> list[Table]:
    """Every line of each table, the models named beside ours and the naive forecasts last."""
    made = []
    for group in groups:
        rows = [(line_name(line), cells(line)) for line in group.lines]
        for title, mse, mae in (*group.beside, *group.naive):
            rows.append((title, ["–", number(mse), number(mae), *["–"] * (len(TITLES) - 3)]))
        facts = f"{count(group.windows)} test windows; blocks of {count(group.block)} windows in the bootstrap."
        drawn, runs = [line.delta.get("mse") for line in group.lines], sum(len(line.runs) for line in group.lines)
        made.append(Table(group.setting.title, facts, group.notes, FIRST, TITLES, rows, drawn, 3, -1, runs))
    return made


def table_csv(groups: Sequence[Group]) -> str:
    """A row for each line and each naive forecast, numbers in full."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for number_, group in enumerate(groups):
        setting = group.setting
        shared = {"dataset": setting.dataset, "context": setting.context, "horizon": setting.horizon,
                  "setting": number_, "test_windows": group.windows}  # fmt: skip
        for line in group.lines:
            writer.writerow({**shared, **_record(line)})
        for kind, found in (("baseline", group.beside), ("naive", group.naive)):
            for title, mse, mae in found:
                writer.writerow({**shared, "kind": kind, "model": title, "test_mse": mse, "test_mae": mae})
    return out.getvalue()


def _record(line: Line) -> dict[str, object]:
    model, embed, norm, head = line.parts
    made: dict[str, object] = {
        "kind": "model", "model": model, "embed": embed, "norm": norm, "head": head, "variant": line.variant,
        "chosen": str(line.chosen).lower(), "seeds": " ".join(map(str, line.seeds)), "against": line.against,
        "interval": line.basis, "parameters": line.fact("parameters"),
        "streamed_mse": line.fact("stream", "mse"), "streamed_ratio": line.fact("stream", "ratio"),
        "streamed_steps": line.fact("stream", "steps"), "bytes_per_series": line.fact("stream", "bytes_per_series"),
        "fit_seconds": line.fact("seconds", "fit"), "peak_mib": line.fact("memory", "peak_mib"),
        "epochs": line.fact("epochs"), "steps": line.fact("steps"),
        "runs": " ".join(run.path.name for run in line.runs),
    }  # fmt: skip
    for key, column in (("val", "val_mse"), ("mse", "test_mse"), ("mae", "test_mae")):
        values = line.values(key)
        made[column] = statistics.fmean(values)
        made[f"{column}_sd"] = statistics.stdev(values) if len(values) > 1 else ""
    for key, found in line.delta.items():
        made |= {f"delta_{key}": found.value, f"delta_{key}_low": found.low, f"delta_{key}_high": found.high}
    return {key: "" if value is None else value for key, value in made.items()}
