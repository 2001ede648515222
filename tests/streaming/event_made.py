"""Events of a few sequences and a predictor of a small chain, not trained."""

import numpy as np
import polars as pl
import torch

from forecast.data.event_module import EventModule
from forecast.data.event_recipe import EventRecipe
from forecast.data.event_split import whole
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import NextEvent
from forecast.inference.event_predictor import EventPredictor
from forecast.models import Aaren
from forecast.models.event_embed import EventEmbedding
from forecast.streaming.event_live import EventLive
from forecast.streaming.fold import STATUSES

START = np.datetime64("2024-01-01T00:00", "us")
MARKS = ("buy", "look", "return")


def table(*, names="abcdef", events=40, stamps=True, labels=False, seed=0) -> pl.DataFrame:
    """Ties and gaps of very different lengths, a covariate that is missing now and then."""
    draw, frames = np.random.default_rng(seed), []
    for name in names:
        marks = draw.choice(MARKS, events)
        if labels:
            marks = np.array([";".join(sorted(set(draw.choice(MARKS, 2)))) for _ in range(events)])
        gaps = np.where(draw.random(events) < 0.1, 0.0, draw.lognormal(0, 1.5, events))
        gaps[1:][marks[1:] == marks[:-1]] += 0.01  # no event is there twice
        hours = np.cumsum(np.round(gaps, 3)) + 1
        time = START + np.rint(hours * 3.6e9).astype("timedelta64[us]") if stamps else hours
        amount = np.where(draw.random(events) < 0.1, np.nan, np.round(draw.lognormal(2, 1, events), 2))
        frames.append(pl.DataFrame({"who": name, "when": time, "what": marks, "amount": amount}))
    return pl.concat(frames).with_columns(pl.col("amount").fill_nan(None))


def made(folder, encoder=None, *, extra=True, given="state", clock=0, **options):
    """A predictor of events in hours; `options` as of `table`."""
    table(**options).write_parquet(folder / "f.parquet")
    more = {"covariates": ["amount"], "periods": [24.0]} if extra else {}
    data = EventModule(
        path=str(folder / "f.parquet"), id="who", time="when", mark="what", unit="hour",
        labels=";" if options.get("labels") else None, splits={"train": 0.6, "val": 0.2, "test": 0.2}, **more,
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    spec = data.spec
    facts = {
        "marks": len(spec.marks), "log_mean": spec.log_mean, "log_std": spec.log_std, "labels": spec.labels
    }  # fmt: skip
    embed = EventEmbedding(d_model=8, d_mark=4, clock=clock, extra=len(spec.extra), **facts)
    head = NextEvent(d_memory=8, components=5, grid=spec.grid, mark_given=given, **facts)
    encoder = encoder or Aaren(d_model=8, heads=2, d_ff=8, layers=1)
    chain = EventChain(embed=embed, encoder=encoder, head=head, spec=spec)
    return EventPredictor(chain, EventRecipe.from_state(data.state()), "x")


def streamed(predictor, **options) -> EventLive:
    return EventLive(predictor, "w", **options)


def scanned(predictor, frame):
    """What one pass over whole sequences says: {name: (medians (L,), nats (L - 1, 2))}."""
    events = predictor.recipe.read(frame)
    gather = predictor.recipe.gather(whole(events))
    found = {}
    with torch.inference_mode():
        for number, name in enumerate(events.ids):
            batch = gather(torch.tensor([number]))
            made = predictor.chain(batch)
            nats = torch.stack(made.log_prob(batch.gaps.roll(-1, 1), batch.marks.roll(-1, 1)), -1)
            found[name] = made.gaps.median()[0].double().numpy(), nats[0, :-1].double().numpy()
    return found


def said(taken):
    return [STATUSES[code] for code in taken.status]


def rows(frame):
    """A table as the columns of pushes."""
    return frame.sort("when", maintain_order=True).iter_rows(named=True)
