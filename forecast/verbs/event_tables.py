"""What train and evaluate print of events."""

from collections.abc import Mapping, Sequence
from typing import Any

from forecast.artifacts import Run
from forecast.verbs.tables import number, percent, table


def event_scores(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    body = []
    for row in rows:
        n = row["nats"]
        body.append(
            [
                row["name"],
                number(n["time"]),
                number(n["mark"]),
                number(n["total"]),
                number(row["rmse"]),
                number(row["mae"]),
                percent(row["accuracy"]),
                percent(row["macro_f1"]),
            ]
        )
    return table(
        ["nats per event", "time", "mark", "total", f"RMSE {unit}s", f"MAE {unit}s", "accuracy", "macro-F1"], body
    )


def event_opening(config: Mapping[str, Any], data: Any, parameters: int, run: Run) -> str:
    return "\n".join(data.findings) + f"\n{parameters:,} parameters, run {run.path}"


def event_closing(metrics: Mapping[str, Any], run: Run, config: Mapping[str, Any]) -> str:
    return event_scores(metrics["rows"], metrics["unit"])
