"""What the tracking server is told of a run: its scores under names that MLflow takes, and its data."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

EVENT_SCORES = ("rmse", "mae", "accuracy", "macro_f1", "calibration", "ks", "survival")
CLASS_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Names that MLflow takes: test/mse_z in scaled units, test/mae in original ones, test_ridge/mse_z beside it;
    test_streamed/mse_z, …, ratio and bytes_per_series of a model that streams; test/coverage_90, crps_z, wql, energy_z
    of its intervals, test_adapting/… of those that follow what comes. Of events see `event_metrics`, of classes
    `class_metrics`."""
    own = {"event": event_metrics, "classify": class_metrics}.get(str(metrics.get("task")))
    if own is not None:
        return own(metrics)
    part, stream = part_of(metrics), metrics.get("stream") or {}
    flat = {f"test_streamed/{key}": stream[key] for key in ("ratio", "bytes_per_series") if stream.get(key) is not None}
    for way, found in (metrics.get("intervals") or {}).items():
        of = "test" if way == "calibrated" else f"test_{way}"
        kept = {"crps_z": found.get("crps"), "wql": found.get("wql"), "energy_z": found.get("energy")}
        kept |= {f"coverage_{c}": each["coverage"] for c, each in found.get("nominal", {}).items()}
        flat.update({f"{of}/{key}": value for key, value in kept.items() if value is not None})
    for row in metrics["rows"]:
        head = {"model": part, "streamed": f"{part}_streamed"}.get(row["kind"])
        head = head or f"{part}_{_plain(row['name'])}"
        flat.update({f"{head}/{key}_z": value for key, value in row["scaled"].items() if value is not None})
        flat.update({f"{head}/{key}": value for key, value in row["original"].items() if value is not None})
    return flat


def part_of(metrics: Mapping[str, Any]) -> str:
    """test, or validation (val/… are the scaled scores of the history) where a fit without a test part was scored."""
    return "validation" if metrics.get("part") == "val" else "test"


def event_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """test/nats_total, nats_time, nats_mark, rmse, …, calibration, ks of the model, test_mixture/… of the floors;
    test_ahead/tmap, otd, … of a window; test_metatpp/nll, … under that protocol."""
    flat: dict[str, float | None] = {}
    for row in metrics["rows"]:
        head = "test" if row["kind"] == "model" else f"test_{_plain(row['name'])}"
        flat |= {f"{head}/nats_{part}": value for part, value in row["nats"].items()}
        flat |= {f"{head}/{key}": row.get(key) for key in EVENT_SCORES}
    ahead = (metrics.get("horizon") or {}).get("rows", [])
    for k, row in enumerate(ahead):
        head = "test_ahead" if k == 0 else f"test_ahead_{_plain(row['name'])}"
        flat |= {f"{head}/{key}": value for key, value in row.items() if key not in ("name", "kind")}
    line = metrics.get("metatpp") or {}
    flat |= {f"test_metatpp/{key}": line.get(key) for key in ("nll", "rmse", "accuracy")}
    return {name: value for name, value in flat.items() if value is not None}


def class_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """test/accuracy, balanced_accuracy, macro_f1, log_loss, ece and temperature of the model; rival/… and floor/… of
    what stands beside it (of a second one rival_NAME/…); test_early_50/accuracy, … with half of each series seen."""
    part = part_of(metrics)
    flat: dict[str, float | None] = {}
    for row in metrics["rows"]:
        head = part if row["kind"] == "model" else str(row["kind"])
        if f"{head}/accuracy" in flat:
            head = f"{head}_{_plain(row['name'])}"
        flat |= {f"{head}/{key}": row.get(key) for key in CLASS_SCORES}
    for each in metrics.get("early") or []:
        head = f"{part}_early_{100 * each['fraction']:.0f}"
        flat |= {f"{head}/{key}": each.get(key) for key in ("accuracy", "log_loss")}
    flat[f"{part}/temperature"] = metrics.get("temperature")
    return {name: value for name, value in flat.items() if value is not None}


def _plain(name: str) -> str:
    """A name with the letters that MLflow takes."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def inputs(data: Any) -> dict[str, Any]:
    """The parts of the data. A digest is one of the file's sha256, the part's rows, the channels and gaps; of events,
    of their file, how many sequences and events there are until when, and the marks; of classes, of their file, the
    names of the part's series in their order, the channels and the classes. Rows are then series."""
    if data.card.kind == "labelled":
        return _labelled(data)
    parts = {}
    for part in ("train", "val", "test"):
        if data.card.kind == "events":
            held = data.part(part)
            known = [len(held.events.ids), len(held.events.time), float(held.end.max())]
            what = json.dumps([data.source["sha256"], known, data.spec.marks])
            parts[part] = {"rows": int(held.target.sum()), "digest": hashlib.sha256(what.encode()).hexdigest()[:8]}
            continue
        ranges = getattr(data.split, part).tolist()
        what = json.dumps([data.source["sha256"], ranges, data.spec.channels, data.gaps])
        rows = sum(last - first for first, last in ranges)
        parts[part] = {"rows": rows, "digest": hashlib.sha256(what.encode()).hexdigest()[:8]}
    channels = data.spec.marks if data.card.kind == "events" else data.spec.channels
    return {"name": data.card.name, "source": data.source, "channels": list(channels), "parts": parts}


def _labelled(data: Any) -> dict[str, Any]:
    parts, named = {}, [list(data.spec.channels), list(data.spec.classes)]
    for part in ("train", "val", "test"):
        held = data.part(part)
        file = data.source["sha256"] or hashlib.sha256(held.values.tobytes()).hexdigest()  # from memory: its values
        what = json.dumps([file, [str(name) for name in held.ids], *named])
        parts[part] = {"rows": len(held.ids), "digest": hashlib.sha256(what.encode()).hexdigest()[:8]}
    return {"name": data.card.name, "source": data.source, "channels": list(data.spec.channels), "parts": parts}
