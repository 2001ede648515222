"""Made-up but lifelike folders of classification runs, as such a run writes them: gestures of several sensors, some of
which look like their neighbour. The series and what is hard about them are the same for every model, skill and seed."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.dashboards.conftest import write

GESTURES = ("circle", "square", "wave", "push", "pull", "swipe left", "swipe right", "tap", "double tap")
SENSORS = {"x": "m/s²", "y": "m/s²", "z": "m/s²", "roll": "°", "pitch": "°", "yaw": "°", "light": ""}
FRACTIONS = tuple(k / 10 for k in range(1, 11))
BINS = 15


def names_of(classes: int) -> tuple[str, ...]:
    """Names as data sets have them: words, letters, long ones."""
    if classes <= len(GESTURES):
        return GESTURES[:classes]
    if classes <= 26:
        return tuple("abcdefghijklmnopqrstuvwxyz"[:classes])
    return tuple(f"appliance no. {k}" for k in range(1, classes + 1))


def make_class_run(
    path: Path, *, classes: int = 9, channels: int = 3, series: int = 240, model: str = "Aaren", skill: float = 2.4,
    seed: int = 1, data: str = "gestures", right: bool = False,
) -> Path:  # fmt: skip
    """A finished run of classification. `right`: nothing is taken for another class."""
    names, rng = names_of(classes), np.random.default_rng(8)
    label = np.sort(rng.choice(classes, series, p=rng.dirichlet(np.full(classes, 6.0))))
    label[:classes] = np.arange(classes)
    hard = rng.normal(0, 1.1, (series, classes))
    chance = probabilities(label, hard, 40.0 if right else skill, seed)
    early = [summary(label, probabilities(label, hard, skill * share**0.7, seed), classes) for share in FRACTIONS]
    path.mkdir(parents=True)
    steps = rng.integers(12, 90, series).astype(np.int32)
    frame = predictions(label, chance, names, steps)
    frame.write_parquet(path / "predictions.parquet")
    examples(frame, channels).write_parquet(path / "examples.parquet")
    history(np.random.default_rng(seed)).write_csv(path / "history.csv")
    found, table = summary(label, chance, classes), confusion(label, chance)
    rocket = summary(label, probabilities(label, hard, 2.6, 77), classes)
    counts = np.bincount(label, minlength=classes).tolist()
    row = {"name": model.lower(), "kind": "model", "series": series, **found}
    write(path, "metrics.json", {
        "task": "classify", "dataset": data, "model": model.lower(), "classes": list(names), "channels": channels,
        "seed": seed, "part": "test", "series": {"train": series, "val": series // 4, "test": series},
        "counts": {"train": counts, "val": [n // 4 for n in counts], "test": counts},
        "parameters": 58_321, "best": {"val/nll": 1.4 - skill / 4},
        "epochs": 12, "steps": 1680, "seconds": {"fit": 91.4, "total": 104.9}, "memory": {"peak_mib": 612.0},
        "refit": True, "temperature": 1.31, "confusion": table.tolist(), "per_class": per_class(table, names),
        "reliability": bins(label, chance),
        "early": [{"fraction": share, "accuracy": each["accuracy"], "log_loss": each["log_loss"]}
                  for share, each in zip(FRACTIONS, early, strict=True)],
        "rows": [row, {"name": "MiniRocket + ridge", "kind": "rival", "series": series, **rocket, "log_loss": None,
                       "ece": None}, {"name": "most frequent class", "kind": "floor", "series": series,
                                      **floor(label, classes)}],
    })  # fmt: skip
    settings(path, names, channels, model, seed, data)
    write(path, "temperature.json", {"temperature": 1.31})
    return path


def probabilities(label: np.ndarray, hard: np.ndarray, skill: float, seed: int) -> np.ndarray:
    """(N, K): the truth, its neighbour half as likely, what is hard for every model, and a model's own errors."""
    size = hard.shape[1]
    push = np.eye(size) + 0.5 * np.roll(np.eye(size), 1, 1) * (np.arange(size) % 3 != 2)[:, None]
    logits = skill * push[label] * 1.8 + hard + np.random.default_rng(seed).normal(0, 0.5, hard.shape)
    weight = np.exp(1.7 * (logits - logits.max(1, keepdims=True)))
    return np.asarray(weight / weight.sum(1, keepdims=True))


def confusion(label: np.ndarray, chance: np.ndarray) -> np.ndarray:
    table = np.zeros((chance.shape[1],) * 2, np.int64)
    np.add.at(table, (label, chance.argmax(1)), 1)
    return table


def per_class(table: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    hit, came, guessed = np.diag(table), table.sum(1), table.sum(0)
    shares = hit / np.maximum(guessed, 1), hit / np.maximum(came, 1), 2 * hit / np.maximum(came + guessed, 1)
    return [{"name": name, "series": int(came[k]), "precision": float(shares[0][k]), "recall": float(shares[1][k]),
             "f1": float(shares[2][k])} for k, name in enumerate(names)]  # fmt: skip


def bins(label: np.ndarray, chance: np.ndarray) -> list[dict[str, Any]]:
    sure, hit = chance.max(1), chance.argmax(1) == label
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [{"confidence": float(sure[place == k].mean()), "accuracy": float(hit[place == k].mean()),
             "series": int((place == k).sum())} for k in range(BINS) if (place == k).any()]  # fmt: skip


def summary(label: np.ndarray, chance: np.ndarray, classes: int) -> dict[str, float]:
    """The scores of a row of metrics.json."""
    table = confusion(label, chance)
    each = per_class(table, names_of(classes))
    error = sum(b["series"] * abs(b["accuracy"] - b["confidence"]) for b in bins(label, chance)) / len(label)
    return {"accuracy": float(np.trace(table) / len(label)), "balanced_accuracy": mean(each, "recall"),
            "macro_f1": mean(each, "f1"), "ece": float(error),
            "log_loss": float(-np.log(chance[np.arange(len(label)), label]).mean())}  # fmt: skip


def mean(each: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in each]))


def floor(label: np.ndarray, classes: int) -> dict[str, float | None]:
    share = np.bincount(label, minlength=classes) / len(label)
    loss = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    most = float(share.max())
    return {"accuracy": most, "balanced_accuracy": 1 / classes, "macro_f1": 2 * most / (1 + most) / classes,
            "log_loss": loss, "ece": None}  # fmt: skip


def predictions(label: np.ndarray, chance: np.ndarray, names: tuple[str, ...], steps: np.ndarray) -> pl.DataFrame:
    sure = chance.astype(np.float32)
    return pl.DataFrame({
        "unique_id": [f"s{k:04d}" for k in range(len(label))], "label": [names[k] for k in label],
        "guess": [names[k] for k in sure.argmax(1)], "p": sure.max(1), "p_label": sure[np.arange(len(label)), label],
        "steps": steps, **{f"p_{name}": sure[:, k] for k, name in enumerate(names)},
    })  # fmt: skip


def examples(frame: pl.DataFrame, channels: int, most: int = 12) -> pl.DataFrame:
    """The surest that were wrong, drawn as sines with a gap in one channel."""
    wrong = frame.filter(pl.col("label") != pl.col("guess")).sort("p", descending=True).head(most)
    rng, parts = np.random.default_rng(3), []
    for k, row in enumerate(wrong.iter_rows(named=True)):
        t = np.arange(row["steps"])
        for c, name in enumerate(list(SENSORS)[:channels]):
            value = np.sin(t / (4 + c) + k) * 10.0**c + np.cumsum(rng.normal(0, 0.1 * 10.0**c, len(t)))
            value[: 3 * (c == 1)] = np.nan
            parts.append(pl.DataFrame({
                "unique_id": row["unique_id"], "label": row["label"], "guess": row["guess"], "p": row["p"],
                "step": t.astype(np.int32), "channel": name, "value": value.astype(np.float32),
            }).with_columns(pl.col("p").cast(pl.Float32), pl.col("value").fill_nan(None)))  # fmt: skip
    if not parts:
        kinds = {"unique_id": pl.String, "label": pl.String, "guess": pl.String, "p": pl.Float32, "step": pl.Int32}
        return pl.DataFrame(schema={**kinds, "channel": pl.String, "value": pl.Float32})
    return pl.concat(parts)


def history(rng: np.random.Generator, epochs: int = 12, steps: int = 60) -> pl.DataFrame:
    """Losses that fall, then overfit a little."""
    rows = []
    for step in range(epochs * steps):
        loss = 0.12 + 1.9 * np.exp(-step / 140) + abs(rng.normal(0, 0.05))
        rows.append((step, step // steps, "train/loss", float(loss), step * 0.05))
        if step % steps == steps - 1:
            epoch = step // steps
            nll = 0.42 + 1.3 * np.exp(-(epoch + 1) / 1.6) + 0.012 * max(0, epoch - 7)
            pairs = (("val/nll", nll), ("val/accuracy", 0.9 - 0.6 * np.exp(-(epoch + 1) / 2)), ("lr", 1e-3))
            rows += [(step, epoch, name, float(value), step * 0.05) for name, value in pairs]
    return pl.DataFrame(rows, schema=["step", "epoch", "name", "value", "seconds"], orient="row")


def settings(path: Path, names: tuple[str, ...], channels: int, model: str, seed: int, data: str) -> None:
    """The JSON files beside the scores."""
    write(path, "config.json", {
        "task": {"name": "classify", "causal": True}, "seed": seed, "name": None, "runs": "runs",
        "data": {"card": data, "path": None, "val": 0.2}, "optim": {"lr": 1e-3}, "norm": "none",
        "model": {"_target_": f"forecast.models.{model}", "d_model": 64},
        "embed": {"_target_": "forecast.models.SeriesEmbedding", "kernel": 3},
        "head": {"_target_": "forecast.heads.Pool", "how": "mean"}, "track": {"uri": None}, "resume": None,
    })  # fmt: skip
    overrides = ["task=classify", f"model={model.lower()}", f"data={data}", f"seed={seed}"]
    write(path, "overrides.json", overrides)
    write(path, "env.json", {
        "forecast": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "platform": "Linux", "device": "cpu",
        "commit": "0123456789abcdef" * 2, "dirty": False, "command": shlex.join(["forecast", "train", *overrides]),
        "started": "2026-11-23T10:15:00Z",
    })  # fmt: skip
    shown = list(SENSORS)[:channels]
    write(path, "data.json", {
        "version": 1,
        "card": {
            "name": data, "kind": "labelled", "about": "gestures of ten people", "licence": "CC BY 4.0",
            "source": "https://www.timeseriesclassification.com", "id": "id", "label": "label", "channels": shown,
            "files": [{"path": f"{data}.parquet", "sha256": "86102b6e4fd8bb71" * 4, "rows": 44876}],
            "splits": {"train": "train.parquet", "test": "test.parquet"},
        },
        "spec": {"channels": shown, "units": [SENSORS[name] for name in shown], "classes": list(names), "longest": 89,
                 "shortest": 12, "missing": channels > 1},
        "findings": ["240 train series of 12 to 89 steps"],
    })  # fmt: skip
