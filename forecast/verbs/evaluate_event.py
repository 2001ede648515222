"""forecast evaluate of a run of events: its scores, computed again from its folder and its data."""

import sys
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import Run
from forecast.heads.event_chain import EventChain
from forecast.inference.event_closer import FILES as CLOSER
from forecast.inference.event_closer import write_closer
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.event_record import PREDICTIONS, EventRecord
from forecast.inference.event_scoring import score
from forecast.inference.insight.sequences import write_event_insight
from forecast.verbs.checks import meaningless
from forecast.verbs.evaluate import looked, same_data
from forecast.verbs.event_tables import event_horizon, event_scores
from forecast.verbs.train_event import scored_ahead

if TYPE_CHECKING:  # Lightning
    from forecast.data.event_module import EventModule

OTHERS = ("ensemble", "baseline", "baseline_windows", "batch_size")  # keys that are about series


def evaluate_event(asked: dict[str, Any], run: Run, config: dict[str, Any]) -> None:
    """Score a run on one part of its data and say whether the numbers are those it was saved with."""
    meaningless(asked, OTHERS, "a run of events", "it is about series")
    saved = run.read("metrics.json")["rows"]
    predictor = EventPredictor.load(run)
    data = build.event_data(config).prepare()
    same_data(run, data)
    part = asked["split"]
    record = EventRecord(data) if asked["insight"] and part == "test" else None
    rows, line = score(data, predictor.chain, predictor.name, part=part, watch=None if record is None else record.watch)
    horizon = scored_ahead(config["task"], data, predictor, part)
    count = int(data.gather(part).targets.sum())
    sys.stdout.write(f"{run.id}: {predictor.name} on {data.card.name}, {count:,} events of {part}\n\n")
    sys.stdout.write(f"{event_scores(rows, data.spec.unit)}\n")
    if horizon is not None:
        sys.stdout.write(f"\n{event_horizon(horizon)}\n")
    if part == "test":
        sys.stdout.write(f"\n{_compared(saved[0], rows[0])}\n")
    if asked["insight"]:
        with looked(run):
            write_event_insight(run, data, predictor.chain, part=part)
            if record is not None:
                _closer(run, data, predictor.chain, record)
    if asked["save"]:
        run.add(f"metrics_{part}.json", {"part": part, "rows": rows, "horizon": horizon, "metatpp": line})


def _closer(run: Run, data: "EventModule", chain: EventChain, record: EventRecord) -> None:
    """What a run of before kept less of: densities and hazards of some sequences; its predictions where it has none."""
    new = [] if (run.path / PREDICTIONS).is_file() else [PREDICTIONS]
    made = record.write(run.path) if new else record.frame()
    write_closer(data, chain, run.path, made)
    run.vouch(*new, *CLOSER)


def _compared(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The likelihoods that were saved beside those of now."""
    if before == after:
        return "equal to the scores saved with the run, to the last bit"
    worst = max(abs((after["nats"][key] or 0.0) - (value or 0.0)) for key, value in before["nats"].items())
    if not worst:
        return "equal to the nats saved with the run, to the last bit; other scores differ (another thread count)"
    return f"differs from the scores saved with the run by up to {worst:.1e} nats (another machine or thread count)"
