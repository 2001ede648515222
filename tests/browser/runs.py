"""Folders of runs for the dashboard: one of each kind, or a thousand, with some that are damaged or half written."""

import json
import os
from pathlib import Path

import numpy as np

from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import make_run, write
from tests.dashboards.events import make_event_run

MODELS = ("informer", "aaren", "tcnca", "lstm", "transformer", "linear", "none")
SAME = ("predictions.parquet", "history.csv", "examples.parquet", "timeline.parquet", "timeline_events.parquet",
        "timeline_next.parquet",
        "data.json", "overrides.json", "temperature.json", "report.html")  # fmt: skip


def one_of_each(home: Path) -> Path:
    """runs/ with a finished run of series, of events and of classes; ids: see `IDS`."""
    make_run(home / "train" / IDS["series"], {"load": "kWh"}, windows=80)
    make_event_run(home / "train" / IDS["events"])
    make_class_run(home / "train" / IDS["classes"], series=90)
    for id in IDS.values():
        write(home / "train" / id, "MANIFEST.json", {})
    return home


IDS = {"series": "20141123T101500Z-0a1b2c3d", "events": "20141124T101500Z-0a1b2c3e",
       "classes": "20141125T101500Z-0a1b2c3f"}  # fmt: skip


def many(home: Path, base: Path, number: int = 1000) -> Path:
    """So many runs of seven models on four data sets, with five seeds and two sizes, made of those in `base`; every
    hundredth is damaged, and one has only begun."""
    rng = np.random.default_rng(3)
    sources = {kind: base / "train" / id for kind, id in IDS.items()}
    facts = {
        kind: {name: json.loads((path / f"{name}.json").read_text()) for name in ("metrics", "config", "env")}
        for kind, path in sources.items()
    }
    for k in range(number):
        kind = ("series", "series", "events", "classes")[k % 4]
        path = home / "train" / f"201412{1 + k % 28:02d}T{k // 60 % 24:02d}{k % 60:02d}00Z-{k:08x}"
        path.mkdir(parents=True)
        for name in SAME:
            if (sources[kind] / name).is_file():
                os.link(sources[kind] / name, path / name)
        made = json.loads(json.dumps(facts[kind]))
        model, seed = MODELS[k // 4 % len(MODELS)], k // 28 % 5
        made["metrics"] |= {"model": model, "seed": seed, "dataset": f"{kind} {k // 140 % 4}"}
        made["config"] |= {"seed": seed, "model": {"_target_": model.title(), "d_model": 32 * (1 + k // 560)}}
        made["env"]["started"] = f"2014-12-{1 + k % 28:02d}T{k // 60 % 24:02d}:{k % 60:02d}:00Z"
        _worse(made["metrics"]["rows"][0], float(rng.uniform(0.9, 1.3)))
        for name, value in made.items():
            write(path, f"{name}.json", value)
        write(path, "MANIFEST.json", {})
        if k % 100 == 99:
            (path / "metrics.json").write_text('{"rows": [', encoding="utf-8")
        if k == 1:
            (path / "metrics.json").unlink()
            (path / "MANIFEST.json").unlink()
    return home


def _worse(row: dict[str, object], factor: float) -> None:
    """The model's own scores, times something."""
    for key in ("scaled", "original", "nats"):
        if isinstance(held := row.get(key), dict):
            row[key] = {name: value and value * factor for name, value in held.items()}
    row |= {key: value / factor for key, value in row.items() if key in ("accuracy", "macro_f1")}
