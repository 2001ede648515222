"""The same for sequences of events and for labelled series, which differ in length: each of the three by itself."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from forecast.artifacts import Run
from forecast.data.event_batch import buckets
from forecast.inference.event_scoring import BATCH
from forecast.inference.insight.write import PICKS, of_encoding, put

if TYPE_CHECKING:  # Lightning
    from forecast.data.event_module import EventModule
    from forecast.data.label_module import LabelModule
    from forecast.heads.event_chain import EventChain
    from forecast.inference.class_predictor import ClassPredictor


def write_event_insight(run: Run, data: "EventModule", chain: "EventChain", *, part: str = "test") -> None:
    """Both files, of the sequences (of long ones, pieces) whose events were forecast best, as most and worst."""
    began, gather = time.monotonic(), data.gather(part)
    chain.eval()
    nats, pieces = _nats(data, chain, part)
    ids = data.part(part).events.ids
    told = [(ids[int(gather.number[k])], lambda k=k: chain(gather(torch.tensor([k])))) for k in _three(-nats, pieces)]
    windows = [{"series": name} for name, _ in told]
    _write(run, chain, windows, [each for _, each in told], layout="events", part=part, began=began)


def write_class_insight(run: Run, data: "LabelModule", predictor: "ClassPredictor", *, part: str = "test") -> None:
    """Both files, of the series whose class was told best, as most and worst."""
    began, gather, chain = time.monotonic(), data.gather(part), predictor.chain.eval()
    logits = predictor.logits(gather) / predictor.temperature
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(data.part(part).label), reduction="none").numpy()
    ids = data.part(part).ids
    picked = _three(loss, np.arange(len(loss)))
    runs = [lambda k=k: chain(gather(torch.tensor([k]))) for k in picked]
    layout = "steps" if chain.embed.stride == 1 else "patches"
    _write(run, chain, [{"series": ids[k]} for k in picked], runs, layout=layout, part=part, began=began)


def _nats(data: "EventModule", chain: "EventChain", part: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean log-likelihood of a scored event of each piece that has one, and the numbers of the pieces."""
    gather = data.gather(part)
    used = gather.used(survival=False)
    found: list[Tensor] = []
    order: list[Any] = []
    with torch.no_grad():
        for some in buckets(gather.length.numpy()[used], BATCH, places=data.places):
            batch = gather(torch.from_numpy(used[some]))
            time_, mark, _ = chain.nats(batch, survival=False)
            each = batch.target[:, 1:].sum(1)
            sums = torch.stack([part_.sum() for part_ in (time_ + mark).split(each.tolist())])
            found.append(sums / each)
            order.append(used[some])
    if not found:
        return np.zeros(0), np.zeros(0, np.int64)
    return torch.cat(found).double().numpy(), np.concatenate(order)


def _three(loss: np.ndarray, numbers: np.ndarray) -> list[int]:
    """The numbers of the least, the median and the largest loss; of equals the first number."""
    good = np.flatnonzero(np.isfinite(loss))
    if not len(good):
        return []
    ranked = numbers[good][np.lexsort((numbers[good], loss[good]))]
    return [int(ranked[k]) for k in (0, (len(ranked) - 1) // 2, len(ranked) - 1)]


def _write(
    run: Run, chain: nn.Module, windows: list[dict[str, Any]], runs: Sequence[Callable[[], object]], *, layout: str,
    part: str, began: float,
) -> None:  # fmt: skip
    """Facts are those of the median; what differs by window is beside its name."""
    frames: list[pl.DataFrame] = []
    facts: list[dict[str, Any]] = []
    for number, one in enumerate(runs):
        found, rows = of_encoding(chain, one, layout=layout, every=1)
        facts.append(found)
        frames += [frame.with_columns(pl.lit(number, pl.Int16).alias("window")) for frame in rows]
        windows[number] |= {"pick": PICKS[number], "cutoff": None, "tokens": found["tokens"]}
    whole = facts[1] if facts else {}
    if facts:
        reach = [each["reach"] for each in facts]
        holds = {key: [each["holds"][key][0] for each in reach] for key in reach[1]["holds"]}
        whole["reach"] |= {"holds": holds, "reaches": [each["reaches"][0] for each in reach]}
    seconds = {"looked": round(time.monotonic() - began, 2)}
    put(run, {**whole, "part": part, "windows": windows, "seconds": seconds}, frames)
