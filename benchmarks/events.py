"""Events: every encoder on sets that others publish on and on a process whose truth is known.

`python -m benchmarks.events [SET …] [--workers=2] [--runs=runs/events]` trains three seeds of each encoder on each set
(one of `none`, and of each on hawkes), scores the test part once, and writes events.json and events.md beside this
file: nats per event beside floors and published values, differences of encoders on the same events with their
intervals, and what a training costs at sequences of 100 and of 2,000 events. Runs that are finished are not run again;
sets that are not here (FORECAST_DATA) are left out.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.campaign import carry_out, finished
from benchmarks.measure import machine
from forecast.artifacts import Run, write_json
from forecast.dashboards.boards.events_paired import Nats, interval, read
from forecast.verbs.tables import number, percent, table

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)
COMMON = (
    "task=event embed.d_model=64 trainer.threads=1 trainer.save_every=null track=none quiet=true "
    "task.origins=128 task.paths=16"
)
ENCODERS = {
    "aaren": "model=aaren model.d_model=64 model.heads=2 model.d_ff=128 model.decay=0.1 model.spread=8",
    "transformer": "model=transformer model.d_model=64 model.heads=2 model.d_ff=128 model.dropout=0.1",
    "lstm": "model=lstm model.d_model=64 model.residual=true model.dropout=0.1",
    "none": "model=none embed.dropout=0.1",
}
OTHERS = {  # on hawkes alone
    "tcnca": "model=tcnca model.d_model=64 model.d_ff=128 model.dropout=0.1",
    "informer": "model=informer model.d_model=64 model.heads=2 model.d_ff=128 model.dropout=0.1",
}
SETS = {
    "hawkes": "data=hawkes data.hawkes.sequences=[4000,300,500] trainer.patience=20 optim.lr=2e-3",
    "taxi": "data=taxi trainer.max_epochs=20",
    "taobao": "data=taobao trainer.max_epochs=30 head.begin=quantiles embed.bins=32",
    "earthquake": "data=earthquake trainer.max_epochs=12",
    "stackoverflow": "data=stackoverflow trainer.max_epochs=8",
    "retail": "data=retail trainer.max_epochs=15",
}
OWN = {("hawkes", name): "model.dropout=0.0" for name in ("transformer", "informer")}  # there is no end of data
# Test nats per event as the S2P2 paper (arXiv 2412.19634) gives them, quoted by others; another split of
# stackoverflow.
PUBLISHED = {
    "taxi": {"RMTPP": 0.346, "SAHP": 0.298, "THP": 0.372, "IFTPP": 0.453, "NHP": 0.514, "AttNHP": 0.493, "S2P2": 0.522},
    "taobao": {"RMTPP": 1.003, "SAHP": 1.168, "THP": 0.790, "IFTPP": 1.318, "NHP": 1.157, "AttNHP": 1.259,
               "S2P2": 1.304},
    "stackoverflow": {"RMTPP": -2.480, "SAHP": -2.341, "THP": -2.338, "IFTPP": -2.233, "NHP": -2.241, "AttNHP": -2.194,
                      "S2P2": -2.163},
}  # fmt: skip
LENGTHS = (100, 2000)
EVENTS = 64_000  # of an epoch whose time is taken
KEYS = ("rmse", "mae", "accuracy", "macro_f1", "calibration", "ks")


class Job(NamedTuple):
    """One training."""

    set: str
    encoder: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set}.{self.encoder}.{self.seed}"

    def words(self, runs: Path) -> list[str]:
        own = f"{SETS[self.set]} {({**ENCODERS, **OTHERS})[self.encoder]} {OWN.get((self.set, self.encoder), '')}"
        text = f"{COMMON} {own} seed={self.seed} name={self.name}"
        return ["train", *text.split(), f"runs={runs}"]


def jobs(sets: list[str]) -> list[Job]:
    """The long ones first, so that two workers end together."""
    found = [Job(name, encoder, 1) for name in sets if name == "hawkes" for encoder in {**ENCODERS, **OTHERS}]
    for seed in SEEDS:
        some = [encoder for encoder in ENCODERS if encoder != "none" or seed == SEEDS[0]]
        found += [Job(name, encoder, seed) for name in sets if name != "hawkes" for encoder in some]
    return found


def scores(runs: list[Run]) -> dict[str, Any]:
    """Means over seeds of what the runs scored, and the deviation of the total."""
    rows = [run.read("metrics.json")["rows"][0] for run in runs]
    nats = {key: statistics.fmean(row["nats"][key] for row in rows) for key in ("time", "mark", "total")}
    totals = [row["nats"]["total"] for row in rows]
    told = [run.read("metrics.json") for run in runs]
    return {
        "seeds": len(runs), **nats, "deviation": statistics.stdev(totals) if len(totals) > 1 else None,
        **{key: statistics.fmean(row[key] for row in rows) for key in KEYS},
        "seconds_per_epoch": statistics.median(m["seconds"]["fit"] / m["epochs"] for m in told),
        "parameters": told[0]["parameters"],
    }  # fmt: skip


def measured(name: str, done: dict[str, Run]) -> dict[str, Any] | None:
    """All that is known of a set: models, floors, paired differences, a window ahead."""
    runs: dict[str, list[Run]] = {}
    for encoder in {**ENCODERS, **OTHERS}:
        some = [done[job.name] for seed in SEEDS if (job := Job(name, encoder, seed)).name in done]
        if some:
            runs[encoder] = some
    if not runs:
        return None
    first = next(iter(runs.values()))[0].read("metrics.json")
    floors = [{**row["nats"], **{k: row[k] for k in ("rmse", "mae", "accuracy", "macro_f1")}, "name": row["name"],
               "kind": row["kind"]} for row in first["rows"][1:]]  # fmt: skip
    nats = {key: [read(run.path / "predictions.parquet") for run in some] for key, some in runs.items()}
    pairs = [("aaren", "transformer"), ("aaren", "lstm"), *((key, "none") for key in runs if key != "none")]
    return {
        "unit": first["unit"], "events": first["events"], "models": {key: scores(some) for key, some in runs.items()},
        "floors": floors,
        "paired": [paired(nats, *pair) for pair in pairs if pair[0] in nats and pair[1] in nats],
        "ahead": {key: ahead(some) for key, some in runs.items()},
    }  # fmt: skip


def paired(nats: dict[str, list[Nats]], ours: str, theirs: str) -> dict[str, Any]:
    """The difference of two encoders on the same events, and its interval."""

    def mean(which: str) -> float:
        return float(np.mean([each.total.sum() / each.events.sum() for each in nats[which]]))

    found = interval(nats[ours], nats[theirs], "total")
    return {"ours": ours, "theirs": theirs, "difference": mean(ours) - mean(theirs), "interval": found}


def ahead(runs: list[Run]) -> dict[str, Any] | None:
    """Means over seeds of the scores of a window ahead, by paths; beside them those of the best floor."""
    told = [run.read("metrics.json")["horizon"] for run in runs]
    if any(each is None for each in told):
        return None
    keys = ("tmap", "otd", "count_mae", "count_crps")
    floors = [row for row in told[0]["rows"] if row["kind"] == "floor"]
    best = {key: (max if key == "tmap" else min)((row[key], row["name"]) for row in floors if row[key] is not None)
            for key in keys}  # fmt: skip
    return {"window": told[0]["window"], **{key: statistics.fmean(t["rows"][0][key] for t in told) for key in keys},
            "floors": best}  # fmt: skip


def cost(encoder: str, length: int) -> dict[str, Any]:
    """Seconds and memory of an epoch of EVENTS events in sequences of one length, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_cost, (encoder, length))


def _cost(encoder: str, length: int) -> dict[str, Any]:
    from forecast import build
    from forecast.data.event_loader import EventLoader
    from forecast.data.event_module import EventModule
    from forecast.tasks.event import EventTask

    torch.set_num_threads(1)
    words = dict(word.split("=") for word in ENCODERS[encoder].split()[1:] if word.startswith("model."))
    values = {key.removeprefix("model."): json.loads(value) for key, value in words.items()}
    more = {"transformer": {"causal": True, "window": 2048}}.get(encoder, {})
    target = {"aaren": "Aaren", "transformer": "Transformer", "lstm": "LSTM", "none": "Identity"}[encoder]
    config = {
        "model": {"_target_": f"forecast.models.{target}", "layers": 2, **values, **more} if encoder != "none" else
        {"_target_": "forecast.models.Identity"},
        "head": {"_target_": "forecast.heads.NextEvent", "components": 32, "mark_given": "gap"},
        "embed": {"_target_": "forecast.models.EventEmbedding", "d_model": 64, "clock": 8}, "norm": "none", "seed": 1,
    }  # fmt: skip
    process = {"base": [0.2, 0.1, 0.05], "excite": [[0.3, 0.1, 0.0], [0.4, 0.2, 0.1], [0.0, 0.5, 0.2]], "decay": 2.0,
               "end": 1.2 * length, "sequences": [EVENTS // length, 1, 1], "seed": 1}  # fmt: skip
    data = EventModule(hawkes=process, longest=length, batch_size=64, places=6400).prepare()
    chain = build.event_chain(config, data.spec)
    task = EventTask(chain, lambda params: None, targets=data.targets, where=data.where)
    optimiser = torch.optim.Adam(chain.parameters(), 1e-3)
    before, found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    loader = EventLoader(data.gather("train"), 64, survival=True, places=6400, seed=1)
    for epoch in range(3):
        began = time.perf_counter()
        loader.set_epoch(epoch)
        for batch in loader:
            optimiser.zero_grad()
            task.loss(batch).backward()
            optimiser.step()
        found.append(time.perf_counter() - began)
    events = sum(int(batch.mask.sum()) for batch in loader)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"encoder": encoder, "length": length, "seconds": statistics.median(found) * EVENTS / events,
            "peak_mib": round(peak)}  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """events.md."""
    parts = ["# Events", f"`python -m benchmarks.events`, {found['machine']['date']}, {found['machine']['cpu']}, "
             f"{found['machine']['cores']} cores. Log-likelihoods in nats per event of the test part, means over "
             "seeds; the unit of time is the set's."]  # fmt: skip
    parts += ["## Aaren and the Transformer", _beside(found)]
    for name, each in found["sets"].items():
        parts += [f"## {name}", _models(each), _published(name), _pairs(each), _window(each)]
    parts += ["## What a training costs", _costs(found["costs"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _beside(found: dict[str, Any]) -> str:
    """Aaren beside the Transformer: the likelihood of the same events, and what a training costs."""
    rows = []
    for name, each in found["sets"].items():
        models = each["models"]
        pair = next((p for p in each["paired"] if (p["ours"], p["theirs"]) == ("aaren", "transformer")), None)
        if pair is None:
            continue
        inside = "" if pair["interval"] is None else f" [{pair['interval'][0]:+.4f}, {pair['interval'][1]:+.4f}]"
        seconds = [f"{models[key]['seconds_per_epoch']:.1f}" for key in ("aaren", "transformer")]
        rows.append([name, f"{pair['difference']:+.4f}{inside}", *seconds, "–", "–"])
    costs = {(r["encoder"], r["length"]): r for r in found["costs"]}
    for length in LENGTHS:
        own, other = costs["aaren", length], costs["transformer", length]
        rows.append([f"{EVENTS:,} events, {length:,} each", "–", f"{own['seconds']:.1f}", f"{other['seconds']:.1f}",
                     f"{own['peak_mib']:,}", f"{other['peak_mib']:,}"])  # fmt: skip
    head = ["", "Aaren − Transformer, nats [95 %]", "s/epoch", "s/epoch T", "MiB", "MiB T"]
    return _code(table(head, rows))


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def _models(each: dict[str, Any]) -> str:
    unit = each["unit"]
    head = ["", "time", "mark", "total", "±", f"RMSE {unit}", f"MAE {unit}", "accuracy", "macro-F1", "KS", "s/epoch"]
    rows = []
    for key, m in each["models"].items():
        rows.append([f"{key} ({m['seeds']} seeds)", *(f"{m[k]:.3f}" for k in ("time", "mark", "total")),
                     "–" if m["deviation"] is None else f"{m['deviation']:.3f}", number(m["rmse"]), number(m["mae"]),
                     percent(m["accuracy"]), f"{m['macro_f1']:.3f}", f"{m['ks']:.3f}",
                     f"{m['seconds_per_epoch']:.1f}"])  # fmt: skip
    for f in each["floors"]:
        nats = ["–" if f[k] is None else f"{f[k]:.3f}" for k in ("time", "mark", "total")]
        rows.append([f["name"], *nats, "–", number(f["rmse"]), number(f["mae"]), percent(f["accuracy"]),
                     "–" if f["macro_f1"] is None else f"{f['macro_f1']:.3f}", "–", "–"])  # fmt: skip
    return _code(table(head, rows))


def _published(name: str) -> str:
    if name not in PUBLISHED:
        return ""
    told = ", ".join(f"{key} {value:.3f}" for key, value in PUBLISHED[name].items())
    return f"Published totals: {told}."


def _pairs(each: dict[str, Any]) -> str:
    lines = []
    for p in each["paired"]:
        inside = "" if p["interval"] is None else f" [{p['interval'][0]:+.4f}, {p['interval'][1]:+.4f}]"
        lines.append([f"{p['ours']} − {p['theirs']}", f"{p['difference']:+.4f}{inside}"])
    return _code(table(["paired, nats per event", "difference [95 %]"], lines)) if lines else ""


def _window(each: dict[str, Any]) -> str:
    shown = {key: value for key, value in each["ahead"].items() if value is not None}
    if not shown:
        return ""
    some = next(iter(shown.values()))
    keys = {"tmap": "T-mAP", "otd": "OTD", "count_mae": "MAE of the count", "count_crps": "CRPS of the count"}
    rows = [[key, *(number(value[k]) for k in keys)] for key, value in shown.items()]
    rows.append(["best floor", *(f"{number(some['floors'][k][0])} ({some['floors'][k][1]})" for k in keys)])
    return _code(table([f"the next {some['window']:.4g} {each['unit']}s", *keys.values()], rows))


def _costs(rows: list[dict[str, Any]]) -> str:
    body = [[f"{r['encoder']}, {r['length']:,} events", f"{r['seconds']:.1f}", f"{r['peak_mib']:,}"] for r in rows]
    return (f"An epoch of {EVENTS:,} events, batches of 6,400, one thread, medians of three; memory above that of the "
            "data.\n\n") + _code(table(["", "seconds", "MiB"], body))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="train nothing, write what is finished")
    parser.add_argument("--runs", type=Path, default=Path("runs/events"))
    asked = parser.parse_args()
    if odd := set(asked.sets) - set(SETS):
        parser.error(f"{min(odd)} is none of {', '.join(SETS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    if not asked.write:
        carry_out(jobs(asked.sets or list(SETS)), asked.runs, asked.workers)  # type: ignore[arg-type]
    done = finished(asked.runs)
    found = {
        "command": "python -m benchmarks.events", "machine": machine(),
        "sets": {name: each for name in SETS if (each := measured(name, done)) is not None},
        "costs": [cost(encoder, length) for length in LENGTHS for encoder in ("aaren", "transformer", "lstm")],
    }  # fmt: skip
    write_json(HERE / "events.json", found)
    text = page(found)
    (HERE / "events.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
