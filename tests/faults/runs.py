"""A run folder that is missing, foreign or damaged; a store that is none."""

from pathlib import Path

from .case import Case, Maker, nothing
from .make import csv, flip, forged, in_run, interrupted, put, without

PREDICT = "predict run=run input=f.csv output=o.csv"
HUGE = (256 << 20) + 1


def oversized(run: Path) -> None:
    """A config of more bytes than any honest one; they are not on the disk."""
    (run / "MANIFEST.json").unlink()
    with open(run / "config.json", "r+b") as file:
        file.truncate(HUGE)


def flipped(name: str) -> Maker:
    return in_run(lambda run: flip(run.parent, name))


def two_runs(folder: Path) -> None:
    for name in ("20250101T000000Z-aaaaaaaa", "20250102T000000Z-bbbbbbbb"):
        (folder / "runs" / "train" / name).mkdir(parents=True)


# fmt: off
CASES = [
    Case("no finished run", "artifacts.py _named: no … in", csv(), "no finished run in runs/train → train one: forecast train",
         "predict run=latest input=f.csv output=o.csv", 4),
    Case("no run with a checkpoint", "artifacts.py _named: no … in", nothing, "no run with a checkpoint in runs/train → train one: forecast train", "train resume=latest", 4),
    Case("a run that is not there", "artifacts.py _named: expected an id", csv(), "no run 'none_such' in runs/train; expected an id, a path or latest → there are none; train one: forecast train",
         "predict run=none_such input=f.csv output=o.csv", 4),
    Case("a name that two runs begin with", "artifacts.py _named: names … runs", two_runs, "run '2025' names 2 runs in runs/train → give more of the name", "evaluate run=2025", 4),
    Case("a folder that is no run", "artifacts.py _named: is no run folder", in_run(lambda run: None), "run/checkpoints is no run folder; it has no config.json → name another run, or train one",
         "evaluate run=run/checkpoints", 4, run=True),
    Case("a run that was interrupted", "artifacts.py find", interrupted(), "{here}/run is not finished; expected a run with a MANIFEST.json → go on with: forecast train resume={here}/run", PREDICT, 4, run=True),
    Case("a run without its config", "artifacts.py _named: is no run folder", without("config.json"), "run is no run folder; it has no config.json → name another run, or train one",
         PREDICT, 4, run=True),
    Case("a run without its weights", "artifacts.py checked: is missing", without("model.safetensors"), "{here}/run/model.safetensors is missing; expected a finished run → name another run, or train one",
         PREDICT, 4, run=True),
    Case("a changed bit in the weights", "artifacts.py checked: is not what the run wrote",
         flipped("model.safetensors"), "{here}/run/model.safetensors is not what the run wrote; its sha256 is not the manifest's → restore the run folder", PREDICT, 4, run=True),
    Case("a changed bit in the config", "artifacts.py checked: is not what the run wrote", flipped("config.json"),
         "{here}/run/config.json is not what the run wrote; its sha256 is not the manifest's → restore the run folder", "evaluate run=run", 4, run=True),
    Case("a changed bit in the record of the data", "artifacts.py checked: is not what the run wrote",
         flipped("data.json"), "{here}/run/data.json is not what the run wrote; its sha256 is not the manifest's → restore the run folder", PREDICT, 4, run=True),
    Case("a changed bit in the scores", "artifacts.py checked: is not what the run wrote",
         flipped("metrics.json"), "{here}/run/metrics.json is not what the run wrote; its sha256 is not the manifest's → restore the run folder", "evaluate run=run", 4, run=True),
    Case("a changed bit in the manifest", "artifacts.py manifest: is not what the run wrote",
         flipped("MANIFEST.json"), "{here}/run/MANIFEST.json is not what the run wrote; its own sha256 does not fit → restore it, or train again", PREDICT, 4, run=True),
    Case("a config that is no JSON", "artifacts.py _json: is not JSON", interrupted("{"), "{here}/run/config.json is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) → train again, or restore the file",
         "train resume=run", 4, run=True),
    Case("a config of a quarter of a gigabyte", "artifacts.py _json: is larger", in_run(oversized), "{here}/run/config.json is larger than 256 MiB → train again",
         "train resume=run", 4, run=True),
    Case("a changed bit in the checkpoint of a finished run", "tasks/checkpoint.py check: its sha256", flipped("checkpoints/last.ckpt"),
         "{here}/run/checkpoints/last.ckpt is no checkpoint, or a damaged one; its sha256 is not its own → resume from another run", "train resume=run", 4, run=True),
    Case("a run without a checkpoint", "verbs/train.py _resumed: has no", without("checkpoints"), "{here}/run has no checkpoints/last.ckpt; expected a run that finished an epoch → train again",
         "train resume=run", 2, run=True),
    Case("weights of another shape", "artifacts.py load_weights: does not fit",
         forged("config.json", lambda config: {**config, "model": {**config["model"], "decompose": 0}}), "{here}/run/model.safetensors: tensor 'head.weight' does not fit the run's configuration → restore the run folder",
         PREDICT, 4, run=True),
    Case("a config of another program", "inference/predictor.py load: is no configuration",
         forged("config.json", lambda config: {key: config[key] for key in config if key != "model"}), "{here}/run/config.json is no configuration of a run: 'model'",
         PREDICT, 4, run=True),
    Case("a record of the data of another version", "data/recipe.py from_state: has version",
         forged("data.json", lambda data: {**data, "version": 99}), "the run's data record has version 99; this program reads 1 → train again, or use a newer program", PREDICT, 4, run=True),
    Case("a record of the data without a scaler", "data/recipe.py from_state: is damaged",
         forged("data.json", lambda data: {key: data[key] for key in data if key != "scaler"}), "the run's data record is damaged: 'scaler'; expected card, scaler and spec → train again",
         PREDICT, 4, run=True),
    Case("a scaler without its deviations", "data/scale.py from_dict: expected kind, ids",
         forged("data.json", lambda data: {**data, "scaler": {"kind": "standard"}}), "the saved scaler is damaged; expected kind, ids, mean and std → train again",
         PREDICT, 4, run=True),
    Case("a scaler that divides by zero", "data/scale.py _sound",
         forged("data.json", lambda data: {**data, "scaler": {**data["scaler"], "std": [[0.0]]}}), "the saved scaler is damaged; expected finite numbers for each series → train again",
         PREDICT, 4, run=True),
    Case("a run of a newer program", "artifacts.py refuse_newer",
         forged("metrics.json", lambda metrics: {**metrics, "schema": 99}), "{here}/run is a run of schema 99; this program reads up to 2 → use a newer program", PREDICT, 4, run=True),
    Case("no store of MLflow", "verbs/ui.py find_store: is not there", nothing, "{here}/old.db is not there; expected the MLflow database that forecast train writes into the directory it is started in → give another --store FILE, or leave it out", "ui --store old.db", 4),
    Case("a store that is none", "verbs/ui.py find_store: no SQLite", put("text", "mlflow.db"), "{here}/mlflow.db is no SQLite database; expected an mlflow.db → give another --store", "ui", 4),
]
