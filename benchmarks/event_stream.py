"""Events streamed per second: one sequence at a time, and 10,000 at once, computed and with JSON lines in and out.

Aaren of 2 layers, width 32, 4 heads, 32 components, 4 marks. Weights are random: speed is not theirs.
"""

import numpy as np
import orjson
import torch

from benchmarks.measure import Row, record, seconds
from forecast.data.event_card import EventCard
from forecast.data.event_extra import Extra
from forecast.data.event_recipe import EventRecipe
from forecast.heads.event_chain import EventChain
from forecast.heads.marks import MarkGiven
from forecast.heads.next_event import NextEvent
from forecast.inference.event_predictor import EventPredictor
from forecast.models import Aaren
from forecast.models.event_embed import EventEmbedding
from forecast.streaming.event_lines import Held
from forecast.streaming.event_live import EventLive
from forecast.streaming.streamer import Streamer
from forecast.types import EventSpec

MARKS = ("a", "b", "c", "d")
MANY, ALONE, ROUNDS = 10_000, 500, 5


def live(given: MarkGiven) -> EventLive:
    torch.manual_seed(0)
    facts = {"log_mean": 0.0, "log_std": 1.0}
    spec = EventSpec(MARKS, "day", 0.0, 1e-6, **facts)
    words = {"marks": len(MARKS), **facts}
    chain = EventChain(
        embed=EventEmbedding(d_model=32, **words), encoder=Aaren(d_model=32, heads=4, d_ff=64, layers=2),
        head=NextEvent(d_memory=32, components=32, mark_given=given, **words), spec=spec,
    )  # fmt: skip
    card = EventCard("made", "events", "", "", "", (), "unique_id", "ds", "mark", "day")
    return EventLive(EventPredictor(chain, EventRecipe(card, spec, Extra((), (), (), ()), True), "aaren"), "w")


class Source:
    """Events of sequences, one after the other for each."""

    def __init__(self, count: int) -> None:
        self.draw, self.time = np.random.default_rng(0), np.zeros(count)
        self.names = [str(i) for i in range(count)]

    def events(self) -> tuple[list[str], np.ndarray, list[str]]:
        """Names, stamps and marks."""
        self.time += self.draw.exponential(size=len(self.time))
        stamps = np.datetime64("2024-01-01", "us") + np.rint(self.time * 86_400e6).astype("timedelta64[us]")
        return self.names, stamps, [MARKS[i] for i in self.draw.integers(len(MARKS), size=len(self.time))]


def taken(of: EventLive, source: Source, repeats: int) -> float:
    """Median seconds of an event of each sequence."""
    made = iter([source.events() for _ in range(repeats + 1)])

    def take() -> None:
        names, stamps, marks = next(made)
        of.take(names, of.time.of(stamps), Held(marks, np.empty((len(names), 0))))

    return seconds(take, repeats)


def lined(of: EventLive, source: Source, repeats: int) -> float:
    """The same, lines in and out."""
    batches = [
        [orjson.dumps({"unique_id": a, "ds": str(b), "mark": c}) for a, b, c in zip(*source.events(), strict=True)]
        for _ in range(repeats + 1)
    ]
    made, streamer = iter(batches), Streamer(of)
    return seconds(lambda: streamer.process(next(made)), repeats)


def rows() -> list[Row]:
    found = []
    for given in ("state", "gap"):
        of, many = live(given), Source(MANY)
        alone = taken(of, Source(1), ALONE)
        found.append({
            "marks given": given, "ms, one sequence": 1000 * alone, "events/s, 10,000": MANY / taken(of, many, ROUNDS),
            "events/s, lines": MANY / lined(of, many, ROUNDS), "bytes per sequence": of.states.size(),
        })  # fmt: skip
    return found


def main() -> None:
    record("event_stream", rows())
