"""Made-up but lifelike folders of event runs, as such a run writes them: orders of a shop, or rides with a clock of
minutes. The forecasts are those of a model that knows half of what the sequences were made of."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.special import ndtr

from forecast.dashboards.events.sequences import chosen, listed
from forecast.inference import event_floors
from tests.dashboards.conftest import write

START = datetime(2010, 9, 1)
SHOP = ("cancel", "large", "medium", "small")
ZONES = ("Midtown", "Chelsea", "Harlem", "SoHo", "Tribeca", "Inwood", "Astoria", "Bushwick", "Flushing", "Jamaica",
         "Corona", "Maspeth")  # fmt: skip


class Made(NamedTuple):
    """N events in order of sequence and time; the first `context` of each sequence are not scored."""

    sequence: np.ndarray
    number: np.ndarray  # of the event in its sequence, from 0
    time: np.ndarray
    gap: np.ndarray  # 0 at a first event
    mark: np.ndarray
    before: np.ndarray  # the mark before, -1 at a first event
    rate: np.ndarray  # log of what is usual in its sequence
    chance: np.ndarray  # (N, M) of each mark
    scored: np.ndarray


def made(rng: np.random.Generator, sequences: int, marks: int, grid: float, context: int) -> Made:
    """A mixture of two log-normals after each mark, and marks by a Markov chain with a taste for each sequence."""
    parts = []
    turn = np.roll(np.eye(marks), 1, 1) * 0.35 + 0.4 * np.eye(marks)
    for k in range(sequences):
        length = 2 + context + int(rng.lognormal(2.9, 0.7))
        rate, taste = rng.normal(0, 0.6), rng.dirichlet(np.linspace(2.0, 0.4, marks))
        mark, chance = np.zeros(length, np.int64), np.tile(taste, (length, 1))
        for i in range(length):
            if i:
                chance[i] = turn[mark[i - 1]] + (1 - turn[mark[i - 1]].sum()) * taste
            mark[i] = rng.choice(marks, p=chance[i])
        before = np.concatenate([[-1], mark[:-1]])
        gap = np.exp(np.where(rng.random(length) < quick(before), rng.normal(-2.5, 1.1, length),
                              rng.normal(2.6 + rate - 0.35 * (before % 3), 0.75, length)))  # fmt: skip
        gap = np.round(gap / grid) * grid if grid else gap
        gap[0] = 0.0
        time, number = rng.uniform(0, 60) + np.cumsum(gap), np.arange(length)
        each = np.full(length, k), number, time, gap, mark, before, np.full(length, rate), chance, number >= context
        parts.append(each)
    return Made(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def quick(before: np.ndarray) -> np.ndarray:
    """The chance of a gap of hours after a mark."""
    return np.where(before == 0, 0.35, 0.15)


class Forecast(NamedTuple):
    """Two log-normals for each event, (N, 2)."""

    weight: np.ndarray
    place: np.ndarray
    scale: np.ndarray

    def below(self, gap: np.ndarray) -> np.ndarray:
        log = np.log(np.maximum(gap, 1e-12))[:, None]
        return np.asarray((self.weight * ndtr((log - self.place) / self.scale)).sum(1))

    def log_prob(self, gap: np.ndarray) -> np.ndarray:
        log = np.log(np.maximum(gap, 1e-12))[:, None]
        bell = np.exp(-0.5 * ((log - self.place) / self.scale) ** 2) / (self.scale * np.sqrt(2 * np.pi))
        return np.asarray(np.log((self.weight * bell).sum(1)) - log[:, 0])

    def quantile(self, level: float) -> np.ndarray:
        low, high = np.full(len(self.place), -12.0), np.full(len(self.place), 12.0)
        for _ in range(40):
            middle = (low + high) / 2
            under = self.below(np.exp(middle)) < level
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return np.asarray(np.exp((low + high) / 2))

    def mean(self) -> np.ndarray:
        return np.asarray((self.weight * np.exp(self.place + self.scale**2 / 2)).sum(1))

    def only(self, k: int, n: int) -> "Forecast":
        return Forecast(*(np.repeat(each[k : k + 1], n, 0) for each in self))


def forecast(data: Made, skill: float, seed: int) -> Forecast:
    """Less sure of the sequence than it might be (`skill` 1), and surer of the gap than it should be."""
    share, rng = quick(data.before), np.random.default_rng(seed)
    place = 2.6 + skill * data.rate - 0.35 * (data.before % 3) + rng.normal(0, 0.1, len(share))
    scale = np.stack([np.full(len(share), 1.1), np.full(len(share), 0.7)], 1)
    return Forecast(np.stack([share, 1 - share], 1), np.stack([np.full(len(share), -2.5), place], 1), scale)


def make_event_run(
    path: Path, *, shop: bool = True, sequences: int = 120, one: bool = False, horizon: bool = True,
    model: str = "Aaren", skill: float = 0.75, seed: int = 1,
) -> Path:  # fmt: skip
    """A finished run of events: dates and four marks (`shop`), or numbers, a grid and twelve. `one`: one mark only.
    The events are the same for every model, skill and seed."""
    rng = np.random.default_rng(8)
    grid, unit = (0.0, "day") if shop else (1 / 60, "hour")
    names = ("event",) if one else SHOP if shop else ZONES
    data = made(rng, sequences, len(names), grid, context=4 if shop else 1)
    told, kept = forecast(data, skill, seed), data.scored
    frame = predictions(data, told, names, grid, shop)
    path.mkdir(parents=True)
    frame.write_parquet(path / "predictions.parquet")
    timelines(path, data, told, names, shop)
    closer(path, data, told, names, frame)
    history(rng).write_csv(path / "history.csv")
    before, after = (event_floors.targets(data.sequence, data.time, data.mark, keep) for keep in (~kept, kept))
    found = event_floors.floors(before if shop else after, after, marks=len(names), grid=grid)
    rows = [scores(model.lower(), "model", model_scores(frame), unit, frame.height, sequences)]
    rows += [scores(name, "floor", each, unit, frame.height, sequences) for name, each in found.items()]
    write(path, "metrics.json", {
        "task": "event", "dataset": "retail" if shop else "taxi", "model": model.lower(), "unit": unit, "grid": grid,
        "marks": list(names), "seed": seed, "part": "test",
        "sequences": {"train": 4120, "val": 510, "test": sequences},
        "events": {"train": 31854, "val": 3998, "test": frame.height}, "parameters": 58_321,
        "best": {"val/nll": 6.06 - skill}, "epochs": 12, "steps": 1680, "seconds": {"fit": 191.4, "total": 214.9},
        "memory": {"peak_mib": 612.0}, "rows": rows, "horizon": horizons(unit) if horizon else None, "metatpp": None,
    })  # fmt: skip
    settings(path, names, unit, grid, model, seed)
    return path


def predictions(data: Made, told: Forecast, names: tuple[str, ...], grid: float, shop: bool) -> pl.DataFrame:
    chance = 0.85 * data.chance + 0.15 / len(names)
    low, high = (np.maximum(data.gap + side * grid / 2, 0) for side in (-1, 1))
    ends = told.below(low), told.below(high)
    time = np.log(np.maximum(ends[1] - ends[0], 1e-12) / grid) if grid else told.log_prob(data.gap)
    right = chance[np.arange(len(data.gap)), data.mark]
    frame = pl.DataFrame({
        "unique_id": [f"{12346 + k}" for k in data.sequence], "event": data.number,
        "ds": stamps(data.time) if shop else data.time, "gap": data.gap, "mean": told.mean(),
        "median": told.quantile(0.5), "q05": told.quantile(0.05), "q95": told.quantile(0.95),
        "pit_low": ends[0].astype(np.float32), "pit_high": ends[1].astype(np.float32),
        "mark": [names[k] for k in data.mark], "guess": [names[k] for k in chance.argmax(1)],
        "p_mark": right.astype(np.float32), "nats_time": time.astype(np.float32),
        "nats_mark": np.log(right).astype(np.float32),
    })  # fmt: skip
    return frame.filter(pl.Series(data.scored))


def stamps(time: np.ndarray) -> np.ndarray:
    return np.asarray(np.datetime64(START, "us") + (time * 86_400e6).astype("timedelta64[us]"))


def timelines(path: Path, data: Made, told: Forecast, names: tuple[str, ...], shop: bool) -> None:
    """The hazard of the next event of three sequences, and their events."""
    lengths = np.bincount(data.sequence)
    chosen = np.argsort(np.abs(lengths - 24), kind="stable")[:3]
    hazard, events = [], []
    for k in chosen:
        rows = np.flatnonzero(data.sequence == k)
        for i in rows[data.scored[rows]]:
            ahead = np.linspace(0, data.gap[i], 12)[1:]
            forecast = told.only(i, len(ahead))
            value = np.exp(forecast.log_prob(ahead)) / np.maximum(1 - forecast.below(ahead), 1e-9)
            hazard.append((f"{12346 + k}", data.time[i] - data.gap[i] + ahead, value))
        events.append(pl.DataFrame({
            "unique_id": [f"{12346 + k}"] * len(rows), "ds": stamps(data.time[rows]) if shop else data.time[rows],
            "mark": [names[m] for m in data.mark[rows]], "scored": data.scored[rows],
        }))  # fmt: skip
    pl.concat(events).write_parquet(path / "timeline_events.parquet")
    at = np.concatenate([each[1] for each in hazard])
    pl.DataFrame({
        "unique_id": [each[0] for each in hazard for _ in each[1]], "ds": stamps(at) if shop else at,
        "hazard": np.concatenate([each[2] for each in hazard]),
    }).write_parquet(path / "timeline.parquet")  # fmt: skip


def closer(path: Path, data: Made, told: Forecast, names: tuple[str, ...], frame: pl.DataFrame) -> None:
    """The densities and likeliest marks of some sequences: those with a timeline, the worst, the best, some others."""
    kept = pl.read_parquet(path / "timeline.parquet")["unique_id"].unique(maintain_order=True).to_list()
    kept += chosen(listed(frame.lazy()), 3)
    chance, rows = 0.85 * data.chance + 0.15 / len(names), []
    for name in dict.fromkeys(kept):
        for i in np.flatnonzero((data.sequence == int(name) - 12346) & data.scored):
            at = np.sort(np.append(np.geomspace(1e-3, 300, 60), max(data.gap[i], 1e-9)))
            order = chance[i].argsort()[::-1][:8]
            density = np.exp(told.only(i, len(at)).log_prob(at))
            rows.append((name, int(data.number[i]), at, density, [names[k] for k in order], chance[i][order]))
    pl.DataFrame({
        "unique_id": [row[0] for row in rows], "event": [row[1] for row in rows],
        **{key: pl.Series([row[k].tolist() for row in rows], dtype=pl.List(pl.Float32))
           for k, key in ((2, "gap"), (3, "density"), (5, "p"))},
        "names": [row[4] for row in rows],
    }).write_parquet(path / "timeline_next.parquet")  # fmt: skip


def model_scores(frame: pl.DataFrame) -> dict[str, Any]:
    low, high = (frame[name].cast(pl.Float64).to_numpy() for name in ("pit_low", "pit_high"))
    edges = np.linspace(0, 1, 101)
    part = np.clip((edges - low[:, None]) / np.maximum(high - low, 1e-9)[:, None], 0, 1).mean(0)
    marks = sorted({*frame["mark"], *frame["guess"]})
    f1 = [2 * frame.filter(pl.col("mark") == m, pl.col("guess") == m).height
          / (frame.filter(pl.col("mark") == m).height + frame.filter(pl.col("guess") == m).height)
          for m in marks]  # fmt: skip
    time, mark = float(frame["nats_time"].mean()), float(frame["nats_mark"].mean())  # type: ignore[arg-type]
    error = frame.select((pl.col("mean") - pl.col("gap")).pow(2).mean().sqrt().alias("rmse"),
                         (pl.col("median") - pl.col("gap")).abs().mean().alias("mae"))  # fmt: skip
    return {"time": time, "mark": mark, "total": time + mark, **error.row(0, named=True),
            "accuracy": float((frame["mark"] == frame["guess"]).mean()), "macro_f1": float(np.mean(f1)),
            "pit": np.diff(part[::5]).tolist(), "calibration": float(np.abs(part - edges).mean()),
            "ks": float(np.abs(part - edges).max())}  # fmt: skip


def scores(name: str, kind: str, given: dict[str, Any], unit: str, events: int, sequences: int) -> dict[str, Any]:
    """A line of the score table, None where there is nothing."""
    keys = ("rmse", "mae", "accuracy", "macro_f1", "pit", "calibration", "ks")
    return {"name": name, "kind": kind, "events": events, "sequences": sequences, "unit": unit,
            "nats": {part: given.get(part) for part in ("time", "mark", "total")}, "survival": None,
            **{key: given.get(key) for key in keys}}  # fmt: skip


def horizons(unit: str) -> dict[str, Any]:
    keys = ("otd", "otd_share", "tmap", "tmap_weighted", "count_mae", "count_crps", "brier")
    rows = {"aaren": (3.21, 0.61, 0.412, 0.43, 1.08, 0.9, 0.11), "aaren, likeliest events": (3.0, 0.59, 0.31, 0.3, 1.2,
            1.0, 0.2), "Markov rates": (3.87, 0.7, 0.336, 0.35, 1.31, 1.1, 0.16),
            "majority mark": (4.1, 0.8, None, 0.2, 1.5, 1.4, 0.3)}  # fmt: skip
    made = [{"name": name, "kind": "model" if "aaren" in name else "floor", **dict(zip(keys, each, strict=True))}
            for name, each in rows.items()]  # fmt: skip
    return {"window": 28.0, "unit": unit, "paths": 64, "origins": 512, "events": 2048, "cut": 0.0,
            "tolerances": [1.4, 2.8], "rows": made}  # fmt: skip


def history(rng: np.random.Generator, epochs: int = 12, steps: int = 140) -> pl.DataFrame:
    """Losses that fall, then overfit a little."""
    rows = []
    for step in range(epochs * steps):
        loss = 5.2 + 1.9 * np.exp(-step / 160) + rng.normal(0, 0.08)
        rows.append((step, step // steps, "train/loss", float(loss), step * 0.05))
        if step % steps == steps - 1:
            epoch = step // steps
            nll = 5.31 + 0.8 * np.exp(-(epoch + 1) / 1.6) + 0.006 * max(0, epoch - 7)
            pairs = (("val/nll", nll), ("val/time", nll - 1.1), ("val/mark", 1.1), ("lr", 1e-3))
            rows += [(step, epoch, name, float(value), step * 0.05) for name, value in pairs]
    return pl.DataFrame(rows, schema=["step", "epoch", "name", "value", "seconds"], orient="row")


def settings(path: Path, names: tuple[str, ...], unit: str, grid: float, model: str, seed: int) -> None:
    """The JSON files beside the scores."""
    data = "taxi" if grid else "retail"
    write(path, "config.json", {
        "task": {"name": "event", "survival": True}, "seed": seed, "name": None, "runs": "runs",
        "data": {"card": data, "path": None}, "optim": {"lr": 1e-3}, "norm": "none",
        "model": {"_target_": f"forecast.models.{model}", "d_model": 64},
        "embed": {"_target_": "forecast.models.EventEmbedding"},
        "head": {"_target_": "forecast.heads.NextEvent", "components": 64}, "track": {"uri": None}, "resume": None,
    })  # fmt: skip
    overrides = ["task=event", f"model={model.lower()}", f"data={data}"]
    write(path, "overrides.json", overrides)
    write(path, "env.json", {
        "forecast": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "platform": "Linux", "device": "cpu",
        "commit": "0123456789abcdef" * 2, "dirty": False, "command": shlex.join(["forecast", "train", *overrides]),
        "started": "2026-11-23T10:15:00Z",
    })  # fmt: skip
    write(path, "data.json", {
        "version": 1,
        "card": {
            "name": data, "kind": "events", "about": "orders of 5,942 customers of a British gift shop",
            "licence": "CC BY 4.0", "source": "https://archive.ics.uci.edu/dataset/502", "id": "id", "time": "time",
            "mark": "mark", "unit": unit, "grid": grid or None, "covariates": ["value"], "periods": ["week", "year"],
            "files": [{"path": f"{data}.parquet", "sha256": "86102b6e4fd8bb71" * 4, "rows": 44876}],
            "splits": {"val": "2011-06-01", "test": "2011-09-01"},
        },
        "spec": {"marks": list(names), "unit": unit, "grid": grid, "floor": 0.0007, "log_mean": 2.1, "log_std": 1.9},
        "findings": ["4,120 train sequences, 31,854 events to forecast", "gaps below 1 minute are taken as 1 minute"],
    })  # fmt: skip
