"""Damage to a finished run, drawn from a seed: truncated, a bit flipped, overwritten, swapped, deleted."""

import random
import shutil
from pathlib import Path
from typing import NamedTuple

from forecast.artifacts import Run, find
from forecast.errors import ArtifactError
from forecast.inference.predictor import Predictor

READ = ("config.json", "data.json", "model.safetensors", "metrics.json", "MANIFEST.json")
HARMS = ("cut", "flip", "overwrite", "swap", "delete")


class Harm(NamedTuple):
    """One damaged file of a copied run."""

    name: str
    kind: str
    whole: bytes  # what the file was


def harm(run: Path, seed: int) -> Harm:
    """Damage one file of `run`; the same seed does the same."""
    draw = random.Random(seed)
    name, kind = draw.choice(READ), draw.choice(HARMS)
    path = run / name
    whole = path.read_bytes()
    raw = bytearray(whole)
    match kind:
        case "cut":
            del raw[draw.choice((0, draw.randrange(len(raw)))) :]
        case "flip":
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        case "overwrite":
            for _ in range(draw.randrange(1, 64)):
                raw[draw.randrange(len(raw))] = draw.randrange(256)
            if raw == whole:
                raw[0] ^= 0xFF
        case "swap":
            raw = bytearray((run / draw.choice([other for other in READ if other != name])).read_bytes())
    if kind == "delete":
        path.unlink()
    else:
        path.write_bytes(raw)
    return Harm(name, kind, whole)


def commands(done: Harm) -> list[str]:
    """The verbs that read the damaged file, as command lines over `run` and the plain csv."""
    words = ["evaluate run=run"]
    if done.name != "metrics.json":
        words.append("predict run=run input=f.csv output=o.csv")
    if done.name == "config.json" or done.name == "MANIFEST.json" and done.kind != "delete":
        words.append("train resume=run")  # without a manifest it is an interrupted run, and may go on
    return words


def refusal(run: Path) -> str:
    """Read all that predict and evaluate read of a run; the one line with which it is refused, "" if it is not."""
    try:
        found: Run = find(str(run), run.parent)
        for name in ("config.json", "data.json", "metrics.json"):
            found.read(name)
        Predictor.load(run)
    except ArtifactError as fault:
        return str(fault)
    return ""


def copy(finished: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(finished, folder))
