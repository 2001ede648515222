"""Steps of labelled series streamed per second: one series at a time, and 1,000 at once, computed and with JSON lines.

Twelve channels, nine classes, width 64; the embedding is that of task=classify, a token for each step or for four.
Weights are random: speed is not theirs. Seconds are those of one core, so that what else runs does not count.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import orjson
import torch

from benchmarks.measure import Row, record
from forecast.data.label_card import LabelCard
from forecast.data.label_recipe import LabelRecipe, LabelScale
from forecast.heads import Pool
from forecast.heads.label_chain import LabelChain
from forecast.inference.class_predictor import ClassPredictor
from forecast.models import LSTM, TCNCA, Aaren, Identity, SeriesEmbedding
from forecast.models.base import Encoder
from forecast.streaming.class_lines import Steps
from forecast.streaming.class_live import ClassLive
from forecast.streaming.streamer import Streamer
from forecast.types import LabelSpec

CHANNELS = tuple(f"c{i}" for i in range(12))
CLASSES = tuple(str(i) for i in range(1, 10))
WIDTH, MANY, ALONE, ROUNDS = 64, 1000, 500, 20


def live(encoder: Encoder, stride: int) -> ClassLive:
    torch.manual_seed(0)
    spec = LabelSpec(CHANNELS, ("",) * len(CHANNELS), CLASSES, 100, 10)
    embed = SeriesEmbedding(channels=len(CHANNELS), d_model=WIDTH, kernel=8, stride=stride)
    head = Pool(d_memory=WIDTH, classes=len(CLASSES), pool="mean")
    chain = LabelChain(embed=embed, encoder=encoder, head=head, spec=spec)
    card = LabelCard("made", "labelled", "", "", "", (), channels=CHANNELS)
    scale = LabelScale((0.0,) * len(CHANNELS), (1.0,) * len(CHANNELS))
    return ClassLive(ClassPredictor(chain, LabelRecipe(card, spec, scale), "x"), "w")


class Source:
    """The next step of each of some series."""

    def __init__(self, count: int) -> None:
        self.draw, self.names = np.random.default_rng(0), [str(i) for i in range(count)]

    def values(self) -> np.ndarray:
        return self.draw.normal(size=(len(self.names), len(CHANNELS)))


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median seconds of the processor that a call takes, after one that does not count."""
    run()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return statistics.median(found)


def taken(of: ClassLive, source: Source, repeats: int) -> float:
    """Median seconds of a step of each series."""
    ticks, made = np.zeros(len(source.names), np.int64), iter([source.values() for _ in range(repeats + 1)])
    return seconds(lambda: of.take(source.names, ticks, Steps.of(next(made))), repeats)


def lined(of: ClassLive, source: Source, repeats: int) -> float:
    """The same, lines in and out."""
    batches = [
        [
            orjson.dumps({"unique_id": name, **dict(zip(CHANNELS, row, strict=True))})
            for name, row in zip(source.names, source.values().tolist(), strict=True)
        ]
        for _ in range(repeats + 1)
    ]
    made, streamer = iter(batches), Streamer(of)
    return seconds(lambda: streamer.process(next(made)), repeats)


def rows() -> list[Row]:
    found = []
    for name, encoder, stride in (
        ("none", Identity(d_model=WIDTH), 1), ("lstm", LSTM(d_model=WIDTH), 1),
        ("aaren", Aaren(d_model=WIDTH, heads=4, d_ff=128, layers=2), 1), ("tcnca", TCNCA(d_model=WIDTH), 1),
        ("aaren, 4 steps a token", Aaren(d_model=WIDTH, heads=4, d_ff=128, layers=2), 4),
    ):  # fmt: skip
        of, many = live(encoder, stride), Source(MANY)
        alone = taken(of, Source(1), ALONE)
        found.append({
            "encoder": name, "µs, one series": 1e6 * alone, "µs a step, 1,000": 1e6 * taken(of, many, ROUNDS) / MANY,
            "µs a step, 1,000, lines": 1e6 * lined(of, many, ROUNDS) / MANY, "bytes per series": of.states.size(),
        })  # fmt: skip
    return found


def main() -> None:
    torch.set_num_threads(1)
    record("class_stream", rows())
