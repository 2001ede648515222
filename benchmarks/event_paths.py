"""Events drawn per second: 2 sequences × 32 paths, 16 events each, after histories of some lengths.

A chain that streams goes on from its state, at the same speed however long the history was; `again` goes through all
events for each new one, which is what an encoder without a state has to do. Weights are random: speed is not theirs.
"""

import torch

from benchmarks.measure import Row, record, seconds
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import NextEvent
from forecast.inference.event_paths import sample_paths
from forecast.models import Aaren, Encoder, Transformer
from forecast.models.base import bytes_per_series
from forecast.models.event_embed import EventEmbedding
from forecast.types import EventBatch, EventSpec

D, MARKS, BATCH, PATHS, EVENTS = 64, 10, 2, 32, 16
HISTORIES = (32, 256, 1024)
AGAIN = 2  # events that are enough to time going through all of them
FACTS = {"log_mean": 0.0, "log_std": 1.0}


def encoder(name: str) -> Encoder:
    sizes = {"d_model": D, "heads": 4, "d_ff": 128, "layers": 2}
    return Aaren(**sizes) if name == "aaren" else Transformer(**sizes, causal=True, window=HISTORIES[-1] + EVENTS)


def chain(name: str) -> EventChain:
    torch.manual_seed(0)
    spec = EventSpec(tuple(str(i) for i in range(MARKS)), "day", 0.0, 1e-6, **FACTS)
    words = {"marks": MARKS, **FACTS}
    return EventChain(embed=EventEmbedding(d_model=D, **words), encoder=encoder(name),
                      head=NextEvent(d_memory=D, **words), spec=spec).eval()  # fmt: skip


def history(length: int) -> EventBatch:
    g = torch.Generator().manual_seed(0)
    gaps, marks = torch.rand(BATCH, length, generator=g), torch.randint(0, MARKS, (BATCH, length), generator=g)
    mask, count = torch.ones(BATCH, length, dtype=torch.bool), torch.full((BATCH,), length)
    return EventBatch(gaps, marks, mask, mask, torch.zeros(BATCH), count, torch.arange(BATCH))


def rows() -> list[Row]:
    found = []
    for name, again in (("aaren", False), ("transformer", False), ("transformer", True)):
        of = chain(name)
        for length in HISTORIES[:2] if again else HISTORIES:
            past, events = history(length), AGAIN if again else EVENTS

            def draw(of=of, past=past, events=events, again=again) -> None:
                sample_paths(of, past, paths=PATHS, events=events, recompute=again)

            spent = seconds(draw, 1, warmup=0 if again else 1)
            found.append({
                "encoder": name, "how": "again" if again else "state", "history": length,
                "events/s": BATCH * PATHS * events / spent, "bytes/path": bytes_per_series(of.start(1)),
            })  # fmt: skip
    return found


def main() -> None:
    record("event_paths", rows())
