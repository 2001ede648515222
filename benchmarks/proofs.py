"""Proofs of mechanism: what each encoder can do at all, on tasks made by a rule (`benchmarks.tasks`).

    recall   a key's value, by content: accuracy by length and vocabulary      chance 1 / vocabulary
    copy     a symbol seen so many steps ago: accuracy by distance             chance 1 / 8
    shift    forecasts after a jump of the level: MSE by steps since, by norm  noise leaves 0.01
    sine     a noiseless sine, 24 steps ahead: MSE, at most 0.01

`python -m benchmarks proofs` runs the cells that proofs.json lacks, saves after each, and writes proofs.md and
proofs.png. A cell is a training from its seed, so it can be repeated; one whose setting changed is run again.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator

from benchmarks import proofs_page, tasks
from benchmarks.learn import learn_series, learn_tokens, namer, registered
from benchmarks.measure import machine
from forecast.artifacts import write_json
from forecast.heads import Chain
from forecast.heads.stream import Stream, obstacles
from forecast.types import SeriesBatch

RESULTS = Path(__file__).with_name("proofs.json")
Row = dict[str, Any]

# Recall: one chunk holds the whole sequence, so that attention may look everywhere, as in MEGA's recall.
RECALL = {
    "transformer": "model=transformer task.causal=true",
    "tcnca, simple": "model=tcnca model.simple=true model.chunk=256",
    "tcnca": "model=tcnca model.chunk=256",
    "tcnca with ema (MEGA)": "model=tcnca model.mixer=ema model.chunk=256",
    "tcnca, simple, chunk 64": "model=tcnca model.simple=true model.chunk=64",
    "aaren": "model=aaren model.decay=null",
    "lstm": "model=lstm model.residual=true",
    "none": "model=none",
}
RECALL_CASES = ((64, 8, 400, 32), (64, 32, 800, 32), (256, 8, 400, 32), (256, 32, 600, 16))  # …, steps, batch
COPY = {
    "transformer": "model=transformer task.causal=true",
    "tcnca": "model=tcnca",
    "tcnca, depth 5": "model=tcnca model.depth=5",
    "tcnca with ema (MEGA)": "model=tcnca model.mixer=ema",
    "aaren": "model=aaren model.decay=null",
    "aaren, decay 0.02": "model=aaren",
    "lstm": "model=lstm model.residual=true",
    "none": "model=none",
}
COPY_CASES = ((16, 1200), (64, 600), (128, 400), (256, 300))  # distance, steps
SYMBOLS = 8
WIDTH, SMALL = 64, 32  # of tokens, of series
JUMP, SINCE, PAST, HALF_LIFE = 3.0, (0, 6, 12, 24, 48, 96), 192, 12
STREAMS = "task.causal=true embed.causal=true embed.position=false"  # positions of a stream go beyond the trained ones


class Cell(NamedTuple):
    """One training."""

    proof: str
    encoder: str
    case: str  # what stands in the column
    words: str  # of `forecast train`
    settings: dict[str, Any]  # arguments of the function that measures it
    seed: int

    @property
    def name(self) -> str:
        return f"{self.proof} · {self.encoder} · {self.case} · seed {self.seed}"


def recall(words: str, seed: int, *, length: int, vocabulary: int, steps: int, batch: int) -> Row:
    def task(count: int, g: Generator) -> tasks.Tokens:
        return tasks.recall(count, length, vocabulary, g)

    model = namer(words, WIDTH, 2 * vocabulary + 1, vocabulary, seed)
    return learn_tokens(model, task, steps=steps, batch=batch, seed=seed)._asdict()


def copy(words: str, seed: int, *, distance: int, steps: int) -> Row:
    model = namer(words, WIDTH, SYMBOLS + 1, SYMBOLS, seed)
    return learn_tokens(model, lambda b, g: tasks.copy(b, distance, SYMBOLS, g), steps=steps, seed=seed)._asdict()


def sine(words: str, seed: int, *, context: int, horizon: int, steps: int) -> Row:
    s = tasks.spec(context, horizon)
    chain = learn_series(words, s, lambda b, g: tasks.sine(b, s, g), steps=steps, seed=seed)
    return {"mse": mse(chain, tasks.sine(512, s, Generator().manual_seed(seed + 1000)))}


def shift(words: str, seed: int, *, context: int, horizon: int, steps: int) -> Row:
    """Trained without any jump. Windows of the length it was trained on, and one stream over the whole past."""
    s, long = tasks.spec(context, horizon), tasks.spec(PAST, horizon)
    chain = learn_series(words, s, lambda b, g: tasks.shift(b, s, g), steps=steps, seed=seed)
    found: Row = {"windowed": {}} if obstacles(chain) else {"windowed": {}, "streamed": {}}
    for since in SINCE:
        test = tasks.shift(256, long, Generator().manual_seed(seed + 1000), jump=JUMP, since=since)
        found["windowed"][str(since)] = mse(chain, tasks.end(test, context))
        if "streamed" in found:
            found["streamed"][str(since)] = streamed_mse(chain, test)
    return found


@torch.no_grad()
def mse(chain: Chain, test: SeriesBatch) -> float:
    return (chain(test) - test.future).double().square().mean().item()


@torch.no_grad()
def streamed_mse(chain: Chain, test: SeriesBatch) -> float:
    """Of the forecast after one scan from the first step of the past."""
    stream = Stream(chain, test.past.shape[2])
    state = stream.scan(stream.start(len(test.past)), test.past, None, test.past_clock)
    return (stream.forecast(state, test.future_clock) - test.future).double().square().mean().item()


MEASURES: dict[str, Callable[..., Row]] = {"recall": recall, "copy": copy, "sine": sine, "shift": shift}


def cells() -> Iterator[Cell]:
    """All of them, the cheap proofs first."""
    for seed in (1, 2, 3):
        for encoder, words in series_words().items():
            sizes = {"context": 36, "horizon": 24, "steps": 200}
            yield Cell("sine", encoder, "36 to 24", f"{words} norm=none", sizes, seed)
    for seed in (1, 2, 3):
        for encoder in registered():
            words = series_words()[encoder]
            if encoder in ("aaren", "lstm", "none", "tcnca", "transformer"):
                words = f"{words} {STREAMS}"
            for norm in ("none", "instance", "rolling"):
                own = f"{words} norm={norm}" + (f" half_life={HALF_LIFE}" if norm == "rolling" else "")
                yield Cell("shift", encoder, norm, own, {"context": 48, "horizon": 12, "steps": 200}, seed)
    for distance, steps in COPY_CASES:
        for encoder, words in COPY.items():
            yield Cell("copy", encoder, str(distance), words, {"distance": distance, "steps": steps}, 1)
    for length, vocabulary, steps, batch in RECALL_CASES:
        for encoder, words in RECALL.items():
            if encoder.endswith("chunk 64") and length <= 64:
                continue  # the same as one chunk
            case = {"length": length, "vocabulary": vocabulary, "steps": steps, "batch": batch}
            yield Cell("recall", encoder, f"{length}, {vocabulary}", words, case, 1)


def series_words() -> dict[str, str]:
    """Every registered encoder as its config composes it, at a small width; and Informer as published."""
    sizes = {name: f"model.d_model={SMALL}" for name in registered()}
    sizes |= {"linear": "", "none": f"embed.d_model={SMALL}"}  # their width is that of their tokens
    words = {name: f"model={name} {size}".strip() for name, size in sizes.items()}
    paper = "head.placeholder=zeros head.residual=none"
    return words | {"informer, the paper's decoder": f"{words['informer']} {paper}"}


def known() -> dict[str, Row]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))["cells"] if RESULTS.is_file() else {}


def main() -> None:
    torch.set_num_threads(1)
    found, todo = known(), list(cells())
    for number, cell in enumerate(todo, 1):
        asked = {"words": cell.words, **cell.settings}
        if cell.name in found and found[cell.name]["asked"] == asked:
            continue
        began = time.process_time()
        result = MEASURES[cell.proof](cell.words, cell.seed, **cell.settings)
        seconds = round(time.process_time() - began, 2)
        found[cell.name] = {
            "proof": cell.proof, "encoder": cell.encoder, "case": cell.case, "seed": cell.seed, "asked": asked,
            "result": result, "cpu_s": seconds,
        }  # fmt: skip
        write_json(RESULTS, {"command": "python -m benchmarks proofs", "machine": machine(), "cells": found})
        print(f"{number:>4} of {len(todo)}  {seconds:6.1f} s  {cell.name}  {result}", flush=True)
    proofs_page.write([found[cell.name] for cell in todo])
