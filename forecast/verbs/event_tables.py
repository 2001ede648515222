"""What train and evaluate print of events: aligned plain text, the model beside the floors."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from forecast.artifacts import Run
from forecast.verbs.tables import number, percent, short, table

NATS = ("time", "mark", "total")
HORIZON = {
    "tmap": "T-mAP", "tmap_weighted": "weighted", "otd": "OTD", "otd_share": "of deleting", "count_mae": "counts MAE",
    "count_crps": "CRPS", "brier": "Brier",
}  # fmt: skip


class Events(Protocol):
    """What is told of the data: a line for each finding, and the card, which has a name."""

    @property
    def findings(self) -> list[str]: ...

    @property
    def card(self) -> Any: ...


def event_scores(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """The model beside the floors: nats per event, errors of the gap in `unit`, scores of the mark. What forecasts time
    and mark stands first, then what forecasts one of them, the likelier above. Of events with one mark, which all give
    0 nats, nothing is said of marks."""
    marked = [row["nats"]["mark"] for row in rows if row["nats"]["mark"] is not None]
    if marked and not any(marked):
        rows = [_unmarked(row) for row in rows if row["nats"]["time"] is not None or row["rmse"] is not None]
        rows = [row for row in rows if row["name"] != "mixture and Markov marks"]
    header = ["nats per event", *NATS, f"RMSE {unit}", f"MAE {unit}", "accuracy", "macro-F1"]
    body = []
    for row in sorted(rows, key=_place):
        name = f"{row['name']} ◀" if row["kind"] == "model" else row["name"]
        nats = [_places(row["nats"][part]) for part in NATS]
        shown = [number(row["rmse"]), number(row["mae"]), percent(row["accuracy"]), _places(row["macro_f1"])]
        body.append([name, *nats, *shown])
    lacking = [k for k in range(1, len(header)) if all(line[k] == "–" for line in body)]
    kept = [k for k in range(len(header)) if k not in lacking]
    return table([header[k] for k in kept], [[line[k] for k in kept] for line in body])


def _unmarked(row: Mapping[str, Any]) -> dict[str, Any]:
    nats = {"time": row["nats"]["time"], "mark": None, "total": None}
    return {**row, "nats": nats, "accuracy": None, "macro_f1": None}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    known = [row["nats"]["total"], row["nats"]["time"], row["rmse"], row["nats"]["mark"], row["accuracy"]]
    first = next((k for k, value in enumerate(known) if value is not None), len(known))
    value = known[first] if first < len(known) else 0.0
    return first, value if first == 2 else -value


def event_horizon(horizon: Mapping[str, Any]) -> str:
    """What forecasts of the whole window ahead are worth, the model beside the floors."""
    rows = horizon["rows"]
    kept = [key for key in HORIZON if any(row.get(key) is not None for row in rows)]
    body = [[f"{row['name']} ◀" if row["kind"] == "model" else row["name"], *(number(row.get(key)) for key in kept)]
            for row in sorted(rows, key=lambda row: -(row.get("tmap") or 0.0))]  # fmt: skip
    head = f"the next {horizon['window']:g} {_plural(horizon['unit'])}"
    made = f"{horizon['origins']:,} origins, {horizon['paths']:,} paths from each"
    return f"{table([head, *(HORIZON[key] for key in kept)], body)}\n{made}"


def event_opening(config: Mapping[str, Any], data: Events, parameters: int, run: Run) -> str:
    """What is about to happen."""
    facts = "\n".join(f"  {line}" for line in data.findings)
    model, head = (config[group]["_target_"].rpartition(".")[2].lower() for group in ("model", "head"))
    return (
        f"{data.card.name}\n{facts}\n{model}\n  {parameters:,} parameters, head {head}, seed {config['seed']}\n"
        f"  run {short(run.path)}"
    )


def event_closing(metrics: Mapping[str, Any], run: Run, config: Mapping[str, Any]) -> str:
    """What came of it, and what to do next."""
    rows, unit = metrics["rows"], metrics["unit"]
    model = next(row for row in rows if row["kind"] == "model")
    parts = [
        "",
        f"{metrics['events']['test']:,} test events of {metrics['sequences']['test']:,} sequences, each scored once "
        "with the weights of the best validation:",
        "",
        event_scores(rows, unit),
        "",
        f"nats of time are of a density per {unit}{_grid(metrics)}",
        *_calibrated(model),
        *_metatpp(metrics.get("metatpp")),
        "",
        *([event_horizon(metrics["horizon"]), ""] if metrics.get("horizon") else []),
        f"report    {short(run.path / 'report.html')}",
        *(["compare   forecast ui"] if config["track"].get("uri") else []),
        f"took      {metrics['seconds']['total']:.0f} s",
    ]
    return "\n".join(parts)


def _grid(metrics: Mapping[str, Any]) -> str:
    """Where the clock has a step a gap is a cell, whose mean density is scored."""
    grid = metrics.get("grid")
    return f", the mean one of a cell of the clock's {number(grid)} {_plural(metrics['unit'])}" if grid else ""


def _calibrated(model: Mapping[str, Any]) -> list[str]:
    if model.get("calibration") is None or model.get("ks") is None:
        return []
    off = f"{number(model['calibration'])} on average, {number(model['ks'])} at most (KS)"
    return [f"calibration of the gap: its distribution is off by {off}"]


def _metatpp(found: Mapping[str, Any] | None) -> list[str]:
    """Figures of another protocol, named so."""
    if not found:
        return []
    scores = f"NLL {number(found['nll'])}, RMSE {number(found['rmse'])}, accuracy {percent(found['accuracy'])}"
    return [f"protocol=metatpp, to be compared with papers that count so: {scores}"]


def _places(value: float | None) -> str:
    """Differences matter, so all have as many."""
    return "–" if value is None else f"{value:.3f}"


def _plural(unit: str) -> str:
    return unit if unit.endswith("s") else f"{unit}s"
