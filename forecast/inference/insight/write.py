"""insight.json and insight.parquet of a run: what its encoder did on the best, the median and the worst window, how far
back it reaches, and what each input is worth. Computed by hooks and gradients after the scores; no generator but its
own is drawn from and no weight is touched, so that a run is bitwise the same without it."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from forecast.artifacts import Run, atomic
from forecast.data.table import stamp
from forecast.heads import Chain
from forecast.inference.insight.importance import budget, importance
from forecast.inference.insight.mixing import mixing, recorded
from forecast.inference.insight.reach import by_construction, gradients, of_encoder, told
from forecast.inference.insight.table import joined, long
from forecast.models.base import Encoder
from forecast.types import SeriesBatch

if TYPE_CHECKING:  # Lightning
    from forecast.data.module import SeriesModule
    from forecast.inference.predictor import Predictor

FACTS: Final = "insight.json"
TABLE: Final = "insight.parquet"
VERSION: Final = 1
PICKS: Final = ("best", "median", "worst")
CHANNELS: Final = 64  # whose gradients are told


class Extremes:
    """Which windows of a pass over a part were the best, the median and the worst; `watch` is for `score`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[tuple[Any, Any, Any]] = []

    def watch(self, batch: SeriesBatch, made: Mapping[str, Tensor]) -> None:
        square = (made[self.name] - batch.future).square() * batch.future_mask
        mse = square.sum((1, 2)) / batch.future_mask.sum((1, 2))
        self.parts.append((mse.numpy(), batch.origin.numpy(), batch.series.numpy()))

    def picked(self) -> list[tuple[str, int, int, float]]:
        """(best, median or worst; origin row; number of the series; MSE); of equals the earliest."""
        if not self.parts:
            return []
        mse, origin, series = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        ranked = np.flatnonzero(np.isfinite(mse))
        ranked = ranked[np.argsort(mse[ranked], kind="stable")]
        if not len(ranked):
            return []
        at = dict(zip(PICKS, (0, (len(ranked) - 1) // 2, len(ranked) - 1), strict=True))
        return [(name, int(origin[k]), int(series[k]), float(mse[k])) for name, i in at.items() for k in [ranked[i]]]


def write_insight(
    run: Run,
    data: "SeriesModule",
    predictor: "Predictor",
    extremes: Extremes,
    *,
    seed: int,
    trained: int,
    part: str = "test",
) -> None:
    """Write both files into the run's folder, without rows where no window of `part` was scored. `data` is held in
    memory; `trained` windows were learned from, each counted as often as it was."""
    picks = extremes.picked()
    if not picks:
        return put(run, {"part": part, "windows": []}, [])
    began = time.monotonic()
    spec, chain = data.spec, predictor.chain.eval()
    origin, series = (torch.tensor([pick[i] for pick in picks]) for i in (1, 2))
    batch = data.gather(origin, series)
    facts, frames = of_chain(chain, batch)
    looked = time.monotonic()
    words = {"seed": seed, "total": budget(trained)}
    worth = importance(predictor.forecast, data.gather, data.windows("val"), spec, **words)
    windows = [
        {"pick": name, "series": data.series.ids[number], "cutoff": stamp(data.series.time[row - 1]), "mse": mse}
        for name, row, number, mse in picks
    ]
    done = time.monotonic()
    facts |= {
        "part": part, "windows": windows, "context": spec.context, "horizon": spec.horizon, "freq": spec.freq,
        "channels": list(spec.channels[:CHANNELS]), "targets": spec.targets, "importance": worth,
        "seconds": {"looked": round(looked - began, 2), "importance": round(done - looked, 2)},
    }  # fmt: skip
    put(run, facts, frames)


def learned_from(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> int:
    """How many windows a training saw, each counted as often as it was."""
    return int(metrics.get("steps") or 0) * config["data"]["batch_size"] * config["trainer"].get("accumulate", 1)


def put(run: Run, facts: Mapping[str, Any], frames: list[pl.DataFrame]) -> None:
    """Both files, whole."""
    with atomic(run.path / TABLE) as temporary:
        joined(frames).write_parquet(temporary, compression="zstd")
    run.write(FACTS, {"version": VERSION, **facts})


def of_chain(chain: Chain, batch: SeriesBatch) -> tuple[dict[str, Any], list[pl.DataFrame]]:
    """Facts and rows of the windows of a batch: the encoder's, then how the forecast depends on the past."""
    rows = chain.embed.length(batch.past.shape[1])
    facts, frames = of_encoding(chain, lambda: chain(batch), layout=chain.embed.layout, every=len(batch.past))
    facts["tokens"] = rows
    horizon = batch.future.shape[1]
    steps = sorted({1, -(-horizon // 2), horizon})
    for step in steps:

        def at(past: Tensor, step: int = step) -> Tensor:
            return chain.point(batch._replace(past=past))[:, step - 1]

        frames.append(long("past", gradients(at, batch.past).square().sum(-1).sqrt(), k=step))
    whole = gradients(lambda past: chain.point(batch._replace(past=past)), batch.past)
    for channel in range(min(whole.shape[2], CHANNELS)):
        frames.append(long("channel", whole[..., channel], k=channel))
    return {**facts, "steps": steps}, frames


def of_encoding(
    chain: nn.Module, run: Callable[[], object], *, layout: str, every: int
) -> tuple[dict[str, Any], list[pl.DataFrame]]:
    """Facts and rows of the encoder of a chain, for what `run` gives it. `every`: so many windows; where there are more
    rows, a target apart each, those of the first target."""
    encoder = chain.encoder
    assert isinstance(encoder, Encoder)
    with torch.no_grad(), recorded(chain, (type(encoder),)) as calls:
        run()
    given = calls[0].given
    x, mask = given[0], given[1] if len(given) > 1 else None
    each = len(x) // every
    x, mask = x[::each].clone(), None if mask is None else mask[::each].clone()
    layers, frames = mixing(encoder, x, mask)
    norms, of = of_encoder(encoder, x, mask)
    frames.append(long("token", norms))
    reach = by_construction(encoder, x.shape[1])
    facts = {
        "encoder": type(encoder).__name__.lower(), "causal": encoder.causal, "layout": layout, "tokens": x.shape[1],
        "out": encoder.out_len(x.shape[1]), "layers": layers,
        "reach": {"construction": reach.tokens, "rule": reach.rule, "of": of, **told(norms)},
    }  # fmt: skip
    return facts, frames
