"""What train and evaluate print: aligned plain text that reads well in a terminal and in a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.artifacts import Run

if TYPE_CHECKING:
    from forecast.data.module import SeriesModule


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column left, the others right; two spaces between."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def number(value: float | None) -> str:
    """Four significant digits; a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.3e}"


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """The model beside the naive rows: scaled and original scores, and the ratio to the seasonal-naive MSE."""
    base = next((row["scaled"]["mse"] for row in rows if row["name"] == "seasonal naive"), None)
    unit = one_unit(rows[0])
    header = ["", "MSE (scaled)", "MAE (scaled)", f"MAE{unit}", "MASE", "MSE ÷ seasonal naive"]
    body = []
    for row in sorted(rows, key=lambda r: (r["scaled"]["mse"] is None, r["scaled"]["mse"])):
        scaled, original = row["scaled"], row["original"]
        ratio = None if not base or scaled["mse"] is None else scaled["mse"] / base
        name = f"{row['name']} ◀" if row["kind"] in ("model", "ensemble") else row["name"]
        values = (scaled["mse"], scaled["mae"], original["mae"], original["mase"], ratio)
        body.append([name, *map(number, values)])
    if base is None:
        header, body = header[:-1], [row[:-1] for row in body]
    if all(row["original"]["mae"] is None for row in rows):  # channels of several units
        header, body = header[:3] + header[4:], [row[:3] + row[4:] for row in body]
    return table(header, body)


WAYS = {"own": "as the output says", "calibrated": "calibrated on validation", "adapting": "adapting to what came"}


def intervals(found: Mapping[str, Any], unit: str = "") -> str:
    """What the 90 % intervals are worth: of single values, and of the sum and the peak of the horizon by paths."""
    header = ["90 % intervals", "covered", f"width{unit}", "CRPS (scaled)", "WQL", "sum covered", "peak covered"]
    body = []
    for way, words in WAYS.items():
        if way not in found or "nominal" not in found[way]:
            continue
        each = found[way]
        nominal = each["nominal"]["90"]
        width = nominal["width_original"] if unit else nominal["width"]
        joint = [(each.get(what) or {}).get("paths", {}).get("90") for what in ("sum", "peak")]
        cells = [percent(nominal["coverage"]), number(width), number(each["crps"]), number(each["wql"])]
        body.append([words, *cells, *map(percent, joint)])
    return table(header, body)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def one_unit(row: Mapping[str, Any]) -> str:
    """ " kWh" where all channels have that unit, else nothing."""
    units = {channel["unit"] for channel in row["channels"].values()}
    return f" {next(iter(units))}" if len(units) == 1 and units != {""} else ""


def streamed(stream: Mapping[str, Any]) -> str:
    """One line: what the model is worth as a stream, or why it cannot be one."""
    if "refused" in stream:
        return f"no stream: {stream['refused']}; {stream['do']}"
    ratio = "–" if stream["ratio"] is None else f"{stream['ratio']:.4f}"
    return (
        f"streamed from {stream['origin']}, {stream['steps']:,} steps: {ratio} × the MSE of windows, "
        f"state {stream['bytes_per_series']:,} bytes for each series"
    )


def fitted(rows: Sequence[Mapping[str, Any]], records: Mapping[str, Any]) -> str:
    """Lines on the named models: what was fitted when, what failed, and the model's own scores where only some
    windows were scored."""
    lines = []
    for label, record in records.items():
        row = next((row for row in rows if row["kind"] == "baseline" and str(row["name"]).startswith(label)), None)
        if row is None:
            lines.append(f"{label}: no row, each of its {record['fits']:,} fits failed: {record['reason']}")
            continue
        failed = (
            f"; {record['failed']:,} fits failed, the naive forecast stands in ({record['reason']})"
            if record["failed"]
            else ""
        )
        own = f"; on these windows the model has {number(row['paired']['scaled']['mse'])}" if "paired" in row else ""
        lines.append(f"{label}: fitted {record['fitted']}; {record['seconds']:.0f} s{failed}{own}")
    return "".join(f"\n{line}" for line in lines) + ("\n" if lines else "")


def opening(config: Mapping[str, Any], data: "SeriesModule", parameters: int, run: Run) -> str:
    """What is about to happen."""
    spec, model = data.spec, config["model"]["_target_"].rpartition(".")[2].lower()
    facts = "\n".join(f"  {line}" for line in data.findings)
    windows = ", ".join(f"{len(data.windows(part)):,} {part}" for part in ("train", "val", "test"))
    return (
        f"{data.card.name}\n{facts}\n  windows of {spec.context} steps to forecast {spec.horizon}: {windows}\n"
        f"{model}\n  {parameters:,} parameters, head {config['head']['_target_'].rpartition('.')[2].lower()}, "
        f"norm {config['norm']}, seed {config['seed']}\n  run {short(run.path)}"
    )


def closing(metrics: Mapping[str, Any], run: Run, config: Mapping[str, Any]) -> str:
    """What came of it, and what to do next."""
    parts = [
        "",
        f"{metrics['windows']['test']:,} test windows, each scored once with the weights of the best validation:",
        "",
        scores(metrics["rows"]),
        fitted(metrics["rows"], metrics.get("baselines", {})),
        *([intervals(metrics["intervals"], one_unit(metrics["rows"][0])), ""] if "intervals" in metrics else []),
        *([] if "refused" in metrics["stream"] else [streamed(metrics["stream"]), ""]),
        f"report    {short(run.path / 'report.html')}",
        "forecast  forecast predict run=latest input=FILE output=forecast.csv",
    ]
    if config["track"].get("uri"):
        parts.append("compare   forecast ui")
    parts.append(f"took      {metrics['seconds']['total']:.0f} s")
    return "\n".join(parts)


def short(path: Path) -> str:
    """Relative to the start directory where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


MONTHS = 12  # the last ones; feed.scores=FILE has all


def replayed(found: Mapping[str, Any]) -> str:
    """What a replay was worth: rows by their errors, and those of the streams from month to month."""
    from forecast.streaming.replay import CORRECTED, STREAMED, WINDOWED

    if found.get("kind") == "events":
        return replayed_events(found)
    if found.get("kind") == "classes":
        return replayed_classes(found)
    scores = found["scores"]
    naive = "seasonal naive" if "seasonal naive" in scores else "last value"
    base = scores[naive]["mse"]
    rows = []
    for name, each in sorted(scores.items(), key=lambda item: (item[1]["mse"] is None, item[1]["mse"])):
        covered = "–" if each["coverage"] is None else f"{100 * each['coverage']:.1f} %"
        ratio = each["mse"] / base if base and each["mse"] is not None else None
        rows.append([name, number(each["mse"]), number(each["mae"]), number(ratio), covered])
    text = table(["prequential", "MSE (scaled)", "MAE (scaled)", f"MSE ÷ {naive}", "90 % covered"], rows)
    shown = [name for name in (STREAMED, CORRECTED, WINDOWED) if name in scores]
    months = sorted(scores[STREAMED]["months"])[-MONTHS:]
    if len(months) > 1:
        by = [[month, *(number(scores[name]["months"][month]["mse"]) for name in shown)] for month in months]
        text += "\n\n" + table(["MSE by month", *shown], by)
    difference, count = found["live_minus_scan"], found["forecasts_compared"]
    return f"{text}\n\nlive − one scan from the same first step: at most {difference:.1e}, over {count:,} forecasts"


def replayed_events(found: Mapping[str, Any]) -> str:
    """What a replay of events was worth, beside floors that learn from the stream too."""
    unit = found["unit"]
    rows = []
    for name, each in found["scores"].items():
        right = "–" if each["accuracy"] is None else f"{100 * each['accuracy']:.1f} %"
        rows.append([name, *(number(each[key]) for key in ("time", "mark", "total", "rmse", "mae")), right])
    heads = ["prequential nats per event", "time", "mark", "total", f"RMSE {unit}s", f"MAE {unit}s", "accuracy"]
    difference, count = found["live_minus_scan"], found["forecasts_compared"]
    scan = f"live − one scan: at most {difference:.1e}, over {count:,} forecasts of one sequence"
    return f"{table(heads, rows)}\n\n{scan}" if count else table(heads, rows)


def replayed_classes(found: Mapping[str, Any]) -> str:
    """How often a replay told the class of a series, by how much of it was seen."""
    rows = [
        [f"{100 * each['fraction']:.0f} %", f"{100 * each['accuracy']:.1f} %", number(each["log_loss"])]
        for each in found["early"]
    ]
    if (floor := found["most_frequent"]) is not None:
        rows.append([f"none: '{floor['label']}', the most frequent", f"{100 * floor['accuracy']:.1f} %", "–"])
    text = table([f"seen of {found['series']:,} series", "accuracy", "log loss"], rows)
    difference, count = found["live_minus_scan"], found["forecasts_compared"]
    scan = f"live − one pass over whole series: at most {difference:.1e}, over {count:,} series"
    return f"{text}\n\n{scan}" if count else text
