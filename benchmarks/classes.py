"""Classes: every encoder on eight sets of two archives, beside random convolution kernels.

`python -m benchmarks.classes [SET …] [--workers=2] [--runs=runs/classes]` trains five seeds of each encoder on each
set, chooses the epoch on a fifth of TRAIN and learns again from all of it, scores the test part once, and writes
classes.json and classes.md beside this file: accuracy, the paired difference to `none` (the same stem and head, no
mixer) on the same series and seeds, the mean of five seeds' probabilities, and MiniRocket with ridge regression
measured in the same runs. Runs that are finished are not run again; sets that are not here (FORECAST_DATA) are left
out.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.campaign import carry_out, finished
from benchmarks.measure import machine
from forecast.artifacts import Run, write_json
from forecast.inference.rocket import NAME
from forecast.verbs.tables import percent, table

HERE = Path(__file__).parent
SEEDS = (1, 2, 3, 4, 5)
COMMON = (
    "task=classify data.batch_size=16 trainer.max_epochs=1000 trainer.max_steps=600 trainer.patience=null "
    "optim.warmup=60 "
    "trainer.threads=1 trainer.save_every=null track=none quiet=true"
)
ENCODERS = {
    "tcnca": "model=tcnca",
    "aaren": "model=aaren model.norm_first=true model.dropout=0.2",
    "informer": "model=informer",
    "transformer": "model=transformer model.norm_first=true",
    "lstm": "model=lstm task.encoder_lr=1",
    "none": "model=none",
    "linear": "experiment=linear_classes task.augment.warp=0 task.augment.scale=0",
}
OURS = ("aaren", "tcnca", "lstm", "informer")
SETS = {  # the long ones first, so that two workers end together
    "osuleaf": "OSULeaf",
    "uwave": "UWave",
    "handwriting": "Handwriting",
    "japanese_vowels": "JapaneseVowels",
    "arrowhead": "ArrowHead",
    "gunpoint": "GunPoint",
    "basic_motions": "BasicMotions",
    "italy_power_demand": "ItalyPowerDemand",
}
# TimesNet's paper (arXiv 2210.02186), table 17: TimesNet, Transformer; epochs there were chosen on the test set.
PUBLISHED = {"japanese_vowels": (0.984, 0.987), "uwave": (0.853, 0.856), "handwriting": (0.321, 0.320)}
REPEATS = 2000


class Job(NamedTuple):
    """One training."""

    set: str
    encoder: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set}.{self.encoder}.{self.seed}"

    def words(self, runs: Path) -> list[str]:
        rival = self.encoder == "none"  # the same for all encoders of a seed: once is enough
        text = f"{COMMON} {ENCODERS[self.encoder]} data={self.set} task.rival={str(rival).lower()} seed={self.seed}"
        return ["train", *text.split(), f"name={self.name}", f"runs={runs}"]


class Told(NamedTuple):
    """What five seeds of an encoder said of a set's test part: N series."""

    right: np.ndarray  # (seeds, N) whether the guess was the class
    mean: float  # accuracy of the mean of their probabilities
    loss: float  # log loss, mean over seeds
    ece: float
    epochs: float  # chosen, mean over seeds
    seconds: float  # of a training, median


def told(runs: list[Run]) -> Told:
    """Read from the run folders."""
    frames = [pl.read_parquet(run.path / "predictions.parquet").sort("unique_id") for run in runs]
    label = frames[0]["label"].to_numpy()
    classes = [name for name in frames[0].columns if name.startswith("p_") and name != "p_label"]
    names = np.array([name.removeprefix("p_") for name in classes])
    right = np.stack([(frame["guess"] == frame["label"]).to_numpy() for frame in frames])
    mean = np.mean([frame.select(classes).to_numpy() for frame in frames], axis=0)
    rows = [run.read("metrics.json") for run in runs]
    return Told(
        right, float((names[mean.argmax(1)] == label).mean()),
        statistics.fmean(row["rows"][0]["log_loss"] for row in rows),
        statistics.fmean(row["rows"][0]["ece"] for row in rows),
        statistics.fmean(row["epochs"] for row in rows),
        statistics.median(row["seconds"]["fit"] for row in rows),
    )  # fmt: skip


def paired(ours: np.ndarray, none: np.ndarray) -> dict[str, float]:
    """The gain in accuracy (seeds, N) of an encoder over `none` and its 95 % interval: series and seeds are drawn with
    replacement, the same ones for both."""
    gain = ours.astype(float) - none.astype(float)
    rng = np.random.default_rng(0)
    seeds, series = gain.shape
    drawn = [gain[np.ix_(rng.integers(0, seeds, seeds), rng.integers(0, series, series))].mean()
             for _ in range(REPEATS)]  # fmt: skip
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"gain": float(gain.mean()), "low": float(low), "high": float(high)}


def measured(name: str, done: dict[str, Run]) -> dict[str, Any] | None:
    """All that is known of a set; None where nothing of it is finished."""
    found: dict[str, Told] = {}
    for encoder in ENCODERS:
        runs = [done[job.name] for seed in SEEDS if (job := Job(name, encoder, seed)).name in done]
        if runs:
            found[encoder] = told(runs)
    if not found:
        return None
    rocket = [row["accuracy"] for seed in SEEDS if (run := done.get(Job(name, "none", seed).name)) is not None
              for row in run.read("metrics.json")["rows"] if row["name"] == NAME]  # fmt: skip
    some = next(run for key, run in done.items() if key.startswith(f"{name}.")).read("metrics.json")
    floor = next(row["accuracy"] for row in some["rows"] if row["kind"] == "floor")
    models = {
        key: {
            "seeds": len(each.right), "accuracy": float(each.right.mean()),
            "deviation": float(each.right.mean(1).std(ddof=1)) if len(each.right) > 1 else None,
            "ensemble": each.mean, "log_loss": each.loss, "ece": each.ece, "epochs": each.epochs,
            "seconds": each.seconds,
            "over_none": paired(each.right, found["none"].right)
            if key != "none" and "none" in found and each.right.shape == found["none"].right.shape else None,
        }
        for key, each in found.items()
    }  # fmt: skip
    return {
        "classes": len(some["classes"]), "channels": some["channels"], "series": some["series"],
        "lengths": some["lengths"], "models": models, "floor": floor,
        "rocket": {"accuracy": statistics.fmean(rocket), "seeds": len(rocket)} if rocket else None,
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """classes.md."""
    told = found["machine"]
    parts = [
        "# Classes",
        f"`python -m benchmarks.classes`, {told['date']}, {told['cpu']}, {told['cores']} cores. Accuracy on the "
        "official test parts, means over seeds; the epoch is chosen on a fifth of TRAIN, then all of TRAIN is learned; "
        "the test part is scored once.",
        _whole(found["sets"]),
    ]
    for name, each in found["sets"].items():
        series, steps = each["series"], each["lengths"]
        long = (
            str(steps["longest"])
            if steps["shortest"] == steps["longest"]
            else f"{steps['shortest']} to {steps['longest']}"
        )
        parts += [
            f"## {SETS[name]}",
            f"{each['classes']} classes, {each['channels']} channel{'s' * (each['channels'] > 1)}, {long} steps; "
            f"{series['train'] + series['val']} series in TRAIN, {series['test']:,} in TEST. Most frequent class: "
            f"{percent(each['floor'])}.",
            _models(each),
        ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _whole(sets: dict[str, Any]) -> str:
    """One line for each set."""
    rows = []
    for name, each in sets.items():
        models = each["models"]
        ours = {key: models[key] for key in OURS if key in models}
        best = max(ours, key=lambda key: ours[key]["accuracy"])
        together = max(ours, key=lambda key: ours[key]["ensemble"])
        rocket = each["rocket"]
        rows.append([
            SETS[name],
            f"{best} {100 * ours[best]['accuracy']:.1f}",
            f"{together} {100 * ours[together]['ensemble']:.1f}",
            "–" if rocket is None else f"{100 * rocket['accuracy']:.1f}",
            f"{100 * models['none']['accuracy']:.1f}" if "none" in models else "–",
            " · ".join(f"{100 * value:.1f}" for value in PUBLISHED[name]) if name in PUBLISHED else "–",
        ])  # fmt: skip
    head = [
        "accuracy, %",
        "best of our four",
        "best mean of seeds",
        "MiniRocket + ridge",
        "none",
        "TimesNet · Transformer",
    ]
    return _code(table(head, rows))


def _models(each: dict[str, Any]) -> str:
    rows = []
    for key, m in each["models"].items():
        gain = m["over_none"]
        inside = (
            "–" if gain is None else f"{100 * gain['gain']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
        )
        rows.append([
            f"{key} ({m['seeds']} seeds)", f"{100 * m['accuracy']:.1f}",
            "–" if m["deviation"] is None else f"{100 * m['deviation']:.1f}", f"{100 * m['ensemble']:.1f}", inside,
            f"{m['log_loss']:.3f}", f"{m['ece']:.3f}", f"{m['epochs']:.0f}", f"{m['seconds']:.0f}",
        ])  # fmt: skip
    if each["rocket"] is not None:
        rows.append(
            [f"{NAME} ({each['rocket']['seeds']} seeds)", f"{100 * each['rocket']['accuracy']:.1f}", *["–"] * 7]
        )
    head = ["", "accuracy, %", "±", "mean of seeds", "over none [95 %]", "log loss", "ECE", "epochs", "s/fit"]
    return _code(table(head, rows))


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classes", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="train nothing, write what is finished")
    parser.add_argument("--runs", type=Path, default=Path("runs/classes"))
    asked = parser.parse_args()
    if odd := set(asked.sets) - set(SETS):
        parser.error(f"{min(odd)} is none of {', '.join(SETS)}")
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    if not asked.write:
        wanted = [Job(name, encoder, seed) for seed in SEEDS for name in asked.sets or SETS for encoder in ENCODERS]
        wanted.sort(key=lambda job: job.encoder == "transformer")  # beside the point: the last to be waited for
        carry_out(wanted, asked.runs, asked.workers)  # type: ignore[arg-type]
    done = finished(asked.runs)
    found = {
        "command": "python -m benchmarks.classes", "machine": machine(),
        "sets": {name: each for name in SETS if (each := measured(name, done)) is not None},
    }  # fmt: skip
    write_json(HERE / "classes.json", found)
    text = page(found)
    (HERE / "classes.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
