"""forecast train task=event: sequences of events, the likelihood of the next one, floors beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import Run
from forecast.errors import DataError, UsageError
from forecast.heads.event_chain import EventChain
from forecast.tasks.event import EventTask
from forecast.verbs.event_tables import event_closing, event_opening

if TYPE_CHECKING:
    from forecast.data.event_module import EventModule
    from forecast.inference.event_predictor import EventPredictor

PARTS = ("train", "val", "test")


def data(config: dict[str, Any], run: Run | None) -> "EventModule":
    """Read, and checked; `config` names it absolutely from then on: the run is read from other directories too."""
    if config.get("baseline") is not None:
        raise UsageError("baseline= with task=event", "its floors are always beside it", "leave baseline out")
    made = build.event_data(config).prepare()
    config["data"].update(card=made.name, path=made.path)
    for part in PARTS:
        if not int(made.gather(part).targets.sum()):
            raise DataError(f"no event of {part} is to be forecast", "expected some", "change data.splits")
    return made


def chain(config: Mapping[str, Any], made: "EventModule") -> EventChain:
    return build.event_chain(config, made.spec)


def task(model: EventChain, optimiser: Any, made: "EventModule", config: Mapping[str, Any], **words: Any) -> EventTask:
    survival = config["task"]["survival"]
    return EventTask(model, optimiser, where=made.where, targets=made.targets, survival=survival, **words)


def warm(model: EventChain, made: "EventModule") -> None:
    """Nothing is fitted before the training."""


def settle(*_: Any) -> dict[str, Any]:
    """The weights of the best validation are those that are kept."""
    return {}


def finish(config: dict[str, Any], run: Run, made: "EventModule", fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Score the saved run, not the one in memory; write its predictions. Returns what metrics.json is to hold."""
    from forecast.inference.event_closer import write_closer
    from forecast.inference.event_predictor import EventPredictor
    from forecast.inference.event_record import EventRecord
    from forecast.inference.event_scoring import score

    predictor = EventPredictor.load(run)
    record = EventRecord(made) if config["predictions"] else None
    rows, line = score(made, predictor.chain, predictor.name, watch=None if record is None else record.watch)
    if record is not None:
        write_closer(made, predictor.chain, run.path, record.write(run.path))
    if config.get("insight"):
        from forecast.inference.insight.sequences import write_event_insight

        write_event_insight(run, made, predictor.chain)
    spec, horizon = made.spec, scored_ahead(config["task"], made, predictor)
    return {
        "task": "event", "dataset": made.card.name, "model": predictor.name, "unit": spec.unit, "grid": spec.grid,
        "marks": list(spec.marks), "seed": config["seed"], "part": "test",
        "sequences": {part: len(made.part(part).events.ids) for part in PARTS},
        "events": {part: int(made.gather(part).targets.sum()) for part in PARTS},
        "parameters": build.parameters(predictor.chain), **fitted, "rows": rows, "horizon": horizon, "metatpp": line,
    }  # fmt: skip


def scored_ahead(
    asked: Mapping[str, Any], made: "EventModule", predictor: "EventPredictor", part: str = "test"
) -> dict[str, Any] | None:
    """Scores of a window ahead; None where it is not wanted, or no sequence is watched for so long."""
    from forecast.inference.event_horizon import choose_window, horizon_scores

    if asked["window"] == 0 or asked["origins"] == 0 or made.spec.labels:
        return None
    of, train = made.part(part), made.part("train")
    try:
        window = choose_window(train, of) if asked["window"] is None else float(asked["window"])
    except ValueError:
        return None
    return horizon_scores(
        predictor.chain, of, train=train, name=predictor.name, window=window, paths=asked["paths"],
        origins=asked["origins"], extra=made.recipe.ahead(of.events), gather=made.recipe.gather(of),
    )  # fmt: skip


def begin(run: Run, made: "EventModule") -> None:
    """What is known of the data before the training."""
    run.write("data.json", {**made.state(), "findings": made.findings})


opening, closing = event_opening, event_closing
