"""Between estimators and run folders: a run of the command line as a fitted forecaster, a fit as a run, in MLflow."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl

from forecast import build
from forecast.artifacts import Run, find, sha256
from forecast.data.card import Card
from forecast.data.covariates import Table
from forecast.data.memory import TableModule
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.errors import UsageError
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import score
from forecast.interop.sktime_fit import Trained, kind
from forecast.interop.sktime_store import TABLE, write_run
from forecast.interop.sktime_table import Layout
from forecast.interop.sktime_time import Clock

# Of a training's overrides those that another fit may take over; the rest is said by the estimator's own arguments.
GROUPS: Final = ("model", "head", "embed", "norm", "half_life", "task", "optim", "trainer")
OWN: Final = ("task.context", "task.horizon", "task.output", "model.d_model", "model.layers", "model.dropout",
              "optim.lr", "trainer.max_epochs", "trainer.patience", "model", "task")  # fmt: skip


# A fit as a run -------------------------------------------------------------------------------------------------


def document(trained: Trained, data: TableModule, run: Run) -> dict[str, Any]:
    """Write the run of a fit, scored on its validation windows; returns what metrics.json is to hold."""
    write_run(trained, run)
    place = run.path / TABLE
    source = {"path": str(place), "sha256": sha256(place), "rows": data.source["rows"]}  # so that it can be evaluated
    run.write("data.json", {**data.state(), "findings": data.findings, "source": source})
    run.write("gaps.json", data.gap_list)
    config, facts, spec = trained.config, trained.facts, data.spec
    predictor = trained.predictor
    windows = {"train": len(data.windows("train")), "val": len(data.windows("val")), "test": 0}
    seconds = {"fit": round(facts.get("seconds", 0.0), 1), "total": round(facts.get("seconds", 0.0), 1)}
    return {
        "task": "forecast", "dataset": data.card.name, "model": predictor.name, "context": spec.context,
        "horizon": spec.horizon, "season": spec.season, "seed": config["seed"], "part": "val", "windows": windows,
        "parameters": build.parameters(predictor.chain), "best": {"val/mse": facts.get("best")},
        "epochs": facts.get("epochs"), "steps": facts.get("steps"), "seconds": seconds,
        "rows": score(data, predictor.forecast, predictor.name, part="val"),
    }  # fmt: skip


# A run as an estimator ------------------------------------------------------------------------------------------


def opened(run: "str | Path", runs: "str | Path", task: str, model: str) -> tuple[Run, dict[str, Any]]:
    """A finished run of that task and model, and its config; UsageError for one of another."""
    found = find(str(run), runs)
    config: dict[str, Any] = found.read("config.json")
    if build.task_of(config) != task:
        raise UsageError(f"run {found.id} is of task={build.task_of(config)}", f"expected a run of task={task}")
    if kind(config) != model:
        raise UsageError(
            f"run {found.id} is of model={kind(config)}, not of {model}", "take the estimator of its model"
        )
    return found, config


def parameters(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an estimator that would be trained like the run."""
    task = config["task"]
    return {
        "context": task["context"], "output": task.get("output", "point"), "batch_size": config["data"]["batch_size"],
        **shared(run, config),
    }  # fmt: skip


def shared(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Those that forecasters and classifiers have."""
    layers, model = config["model"].get("layers"), config["model"]
    said = run.read("overrides.json") if (run.path / "overrides.json").is_file() else []
    rest = [
        word for word in said
        if (key := word.lstrip("+~").partition("=")[0]).partition(".")[0] in GROUPS and key not in OWN
    ]  # fmt: skip
    return {
        "d_model": model.get("d_model"), "layers": layers[0] if isinstance(layers, list) else layers,
        "dropout": model.get("dropout"), "max_epochs": config["trainer"]["max_epochs"],
        "learning_rate": config["optim"]["lr"], "random_state": config["seed"], "overrides": rest or None,
    }  # fmt: skip


def trained_by(run: Run, config: dict[str, Any]) -> tuple[Trained, Layout]:
    """The run with the history that it was trained and validated on, which ends where its test part begins."""
    predictor = Predictor.load(run)
    recipe = predictor.recipe
    data = build.data(config).remember(recipe.holidays).in_memory()
    _representable(recipe, run)
    table = _table(data, recipe.card)
    settings = _settings(config["data"], recipe, data)
    metrics = run.read("metrics.json")
    facts = {"best": metrics["best"].get("val/mse"), "epochs": metrics.get("epochs"), "steps": metrics.get("steps"),
             "seconds": metrics["seconds"]["fit"], "windows": metrics["windows"]["val"]}  # fmt: skip
    made = Trained({**config, "data": settings}, predictor, table, facts=facts)
    return made, _layout(table, recipe, data)


def _representable(recipe: Recipe, run: Run) -> None:
    """UsageError for what sktime has no place for."""
    spec = recipe.spec
    beside = [*spec.channels[spec.targets :], *spec.behind, *spec.static]
    if recipe.coding is not None and any(column.beside for column in recipe.coding.columns):
        beside.append("a second table")
    if recipe.holidays is not None:
        beside.append("days off")
    if beside:
        raise UsageError(
            f"run {run.id} looks at {', '.join(beside)}", "a forecaster of sktime knows y, and X that is known ahead",
            "forecast with `forecast predict`, or train without them",
        )  # fmt: skip


def _table(data: SeriesModule, card: Card) -> pl.DataFrame:
    """The rows of train and validation in original units, with what is known beside them."""
    series = data.series
    last = data.split.test[:, 0] if len(data.split.test) else series.start[1:]
    first = data.split.train[:, 0]
    rows = np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    time = pl.Series(series.time[rows])
    stamps = time.dt.replace_time_zone("UTC") if series.zone is not None else time
    ids = pl.Series(series.ids, dtype=pl.String).gather(series.number[rows])
    values = np.where(data.observed[rows], series.values[rows], np.nan)
    columns = {name: pl.Series(values[:, i]).fill_nan(None) for i, name in enumerate(series.channels)}
    frame = pl.DataFrame({**({} if card.id is None else {card.id: ids}), card.time.column: stamps, **columns})
    for table in series.covariates.tables if series.covariates else ():
        frame = frame.join(_cells(table, card, series.zone), on=_keys(card), how="left", maintain_order="left")
    return frame


def _keys(card: Card) -> list[str]:
    return [card.time.column] if card.id is None else [card.id, card.time.column]


def _cells(table: Table, card: Card, zone: str | None) -> pl.DataFrame:
    """The covariates of the main file as a frame."""
    time = pl.Series(table.time)
    made: dict[str, pl.Series] = {card.time.column: time if zone is None else time.dt.replace_time_zone("UTC")}
    if card.id is not None:
        assert table.ids is not None
        made = {card.id: pl.Series(table.ids, dtype=pl.String).gather(table.number), **made}
    for i, name in enumerate(table.names):
        cells, words = pl.Series(table.values[:, i]).fill_nan(None), table.words[i]
        made[name] = cells if words is None else pl.Series(list(words), dtype=pl.String).gather(cells.cast(pl.UInt32))
    return pl.DataFrame(made)


def _settings(asked: dict[str, Any], recipe: Recipe, data: SeriesModule) -> dict[str, Any]:
    """The group `data` for the table in memory: what the card says is said here, the cut is that of the run."""
    card, spec = recipe.card, recipe.spec
    parts = [int((ranges[:, 1] - ranges[:, 0]).sum()) for ranges in (data.split.train, data.split.val)]
    share = parts[1] / sum(parts)
    return {
        **asked, "card": None, "path": "y", "time": card.time.column, "id": card.id, "known": list(spec.known) or None,
        "target": list(spec.channels), "past": None, "static": None, "categories": None, "covariates": None,
        "freq": spec.freq, "zone": card.time.zone, "season": spec.season, "missing": None, "holidays": None,
        "splits": {"train": 1 - share, "val": share, "test": 0.0},
    }  # fmt: skip


def _layout(table: pl.DataFrame, recipe: Recipe, data: SeriesModule) -> Layout:
    """The names and labels of the table as pandas would have them."""
    card, spec = recipe.card, recipe.spec
    names = [card.time.column] if card.id is None else [card.id, card.time.column]
    clock = Clock("datetime", spec.freq, card.time.zone)
    made = Layout(clock, names, list(spec.channels), list(spec.known), card.id is None)
    last = table.group_by(card.id, maintain_order=True).last() if card.id is not None else table.tail(1)
    stamps = pd.DatetimeIndex(last[card.time.column].dt.replace_time_zone(None).to_numpy())
    if card.time.zone is not None:
        stamps = stamps.tz_localize("UTC").tz_convert(card.time.zone)
    ids = ["y"] if card.id is None else last[card.id].to_list()
    made.instances = {name: None if card.id is None else (name,) for name in ids}
    made.last = dict(zip(ids, stamps, strict=True))
    return made
