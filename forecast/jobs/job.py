"""A job from a run folder and what is asked; nothing of torch is loaded for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forecast.artifacts import MANIFEST, Run, sha256
from forecast.data.card import Card
from forecast.data.event_card import EventCard
from forecast.data.label_card import LabelCard
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.jobs.types import Job


class Columns(NamedTuple):
    """The columns of a training."""

    id: str | None
    time: str | None
    needed: tuple[str, ...]
    wanted: tuple[str, ...]
    target: str | None = None  # where there is one, and nothing beside it


def kind_of(run: Run) -> str:
    """forecast, event or classify."""
    return str((run.read("config.json").get("task") or {}).get("name", "forecast"))


def columns_of(kind: str, data: Mapping[str, Any]) -> Columns:
    """The columns of a run's data record."""
    spec = data["spec"]
    if kind == "event":
        card = EventCard.from_dict(data["card"])
        named = tuple(name for name in (card.id, card.time, card.mark, *card.covariates) if name is not None)
        return Columns(card.id, card.time, named, named)
    if kind == "classify":
        labels = LabelCard.from_dict(data["card"])
        named = tuple(name for name in (labels.id, labels.time, *spec["channels"]) if name is not None)
        return Columns(labels.id, labels.time, named, named)
    series = Card.from_dict(data["card"])
    source = {channel.name: channel.source for channel in series.channels}
    first = tuple(name for name in (series.id, series.time.column) if name is not None)
    needed = (*first, *(source[name] for name in spec["channels"]))
    wanted = tuple(dict.fromkeys((*needed, *source.values())))
    return Columns(series.id, series.time.column, needed, wanted, needed[-1] if len(wanted) == len(first) + 1 else None)


def job_of(
    run: Run, asked: Mapping[str, Any], levels: list[float] | None, version: str | None = None
) -> tuple[Job, str]:
    """The job, and the digest of the run's manifest, whose first digits stand for a version where it has none.
    UsageError for what is asked of a run of another kind."""
    kind, config, data = kind_of(run), run.read("config.json"), run.read("data.json")
    try:
        found, spec = columns_of(kind, data), data["spec"]
        name = str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
    except (KeyError, TypeError, AttributeError, DataError) as fault:
        raise ArtifactError(
            f"{run.path / 'data.json'} is no data record of a run: {fault}", do="train again"
        ) from fault
    checked(kind, found, asked, spec)
    digest = sha256(run.path / MANIFEST)
    job = Job(
        run=str(run.path), output=str(Path(asked["output"]).expanduser().absolute()), kind=kind, id=found.id,
        time=found.time, needed=found.needed, wanted=found.wanted, target=found.target, rename=renamed(asked["rename"]),
        wide=asked["layout"] == "wide", levels=None if levels is None else tuple(levels),
        batch_size=asked["batch_size"] or 256, short=asked["short"], on_bad=asked["on_bad"], horizon=asked["horizon"],
        now=None if asked["now"] is None else str(asked["now"]), nixtla=asked["columns"] == "nixtla", model=name,
        version=version or digest[:12], run_id=run.id,
    )  # fmt: skip
    return job, digest


def checked(kind: str, found: Columns, asked: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    """What is asked must mean something of a run of this kind."""
    if asked["layout"] == "wide" and (found.target is None or found.id is None):
        why = "its series have no names" if found.id is None else "a row of its tables holds more than one number"
        raise UsageError("layout=wide with this run", why, "give a long table")
    if asked["columns"] == "nixtla" and (kind != "forecast" or spec["targets"] != 1):
        raise UsageError("columns=nixtla with this run", "expected a run of series with one target", "leave it out")
    if asked["now"] == "latest":
        raise UsageError(
            "now=latest with an output that is a folder", "a shard does not know the others", "give a stamp or a number"
        )
    horizon = asked["horizon"]
    if horizon is not None and kind == "forecast" and not 1 <= horizon <= spec["horizon"]:
        raise UsageError(f"horizon is {horizon}", f"expected 1 to {spec['horizon']}, the horizon of the run")


def renamed(given: Any) -> tuple[tuple[str, str], ...]:
    """The mapping of a config; UsageError for what is none, or names a column twice."""
    if given is None:
        return ()
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise UsageError(f"rename is {given!r}", "expected {COLUMN OF THE INPUT: COLUMN OF THE TRAINING}")
    if len(set(given.values())) < len(given):
        raise UsageError(f"rename is {given!r}", "expected each column of the training once")
    return tuple((str(was), after) for was, after in given.items())
