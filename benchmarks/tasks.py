"""Tasks made by a rule, whose answer is known: what a mixer must be able to do, and nothing else.

Token tasks (recall, copy) give symbols and, where one is asked for, the symbol to name. Series tasks (level shift,
sine) give windows as the data module does. All are drawn from a generator: equal seeds are equal tasks.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from forecast.types import SeriesBatch, Spec

IGNORE = -100  # no symbol is asked for here; what cross entropy leaves out


class Tokens(NamedTuple):
    """B sequences of L symbols, and what is to be named at each step."""

    tokens: Tensor  # (B, L) int64
    target: Tensor  # (B, L) int64, IGNORE where nothing is asked


def recall(batch: int, length: int, vocabulary: int, g: Generator) -> Tokens:
    """Associative recall: keys with their values, then blanks, then keys alone, each to be answered by its value.

    Keys are 0 … V-1, values V … 2V-1, the blank 2V. A quarter of the sequence is keys at most, each once, with a value
    drawn for this sequence; an eighth at most asks. So every answer lies about a sequence back and depends on content.
    """
    held, asked = min(vocabulary, length // 4), min(vocabulary, length // 8)
    keys = torch.rand(batch, vocabulary, generator=g).argsort(1)[:, :held]
    values = torch.randint(vocabulary, (batch, held), generator=g)
    chosen = torch.rand(batch, held, generator=g).argsort(1)[:, :asked]
    tokens = torch.full((batch, length), 2 * vocabulary)
    tokens[:, 0 : 2 * held : 2], tokens[:, 1 : 2 * held : 2] = keys, vocabulary + values
    tokens[:, -asked:] = keys.gather(1, chosen)
    target = torch.full((batch, length), IGNORE)
    target[:, -asked:] = values.gather(1, chosen)
    return Tokens(tokens, target)


def copy(batch: int, distance: int, vocabulary: int, g: Generator) -> Tokens:
    """Long-range copy: name the symbol that stands `distance` steps before the question, the first of all.

    Between the two stand other symbols of the same V; the question is symbol V.
    """
    tokens = torch.randint(vocabulary, (batch, distance + 1), generator=g)
    target = torch.full_like(tokens, IGNORE)
    tokens[:, -1], target[:, -1] = vocabulary, tokens[:, 0]
    return Tokens(tokens, target)


def spec(context: int, horizon: int) -> Spec:
    """One channel without a calendar, whose season nobody is told."""
    return Spec(("value",), 1, ("",), (), context, horizon, "h", 1)


def windows(series: Tensor, s: Spec) -> SeriesBatch:
    """Whole series (B, L + H) as one window each."""
    b = len(series)
    past, future = series[:, : s.context, None], series[:, s.context :, None]
    blank, row = series.new_zeros, torch.arange(b)
    return SeriesBatch(
        past, torch.ones_like(past, dtype=torch.bool), blank(b, s.context, 0),
        future, torch.ones_like(future, dtype=torch.bool), blank(b, s.horizon, 0), row, row,
    )  # fmt: skip


PERIOD = 24  # steps of a sine


def sine(batch: int, s: Spec, g: Generator) -> SeriesBatch:
    """sin(2π (t + u) / 24) without noise, u uniform: variance ½, so an MSE of 0.01 is 2 % of it."""
    phase = torch.rand(batch, 1, generator=g) * PERIOD
    return windows(torch.sin(2 * math.pi * (torch.arange(s.context + s.horizon) + phase) / PERIOD), s)


def shift(batch: int, s: Spec, g: Generator, *, jump: float = 0.0, since: int = 0, noise: float = 0.1) -> SeriesBatch:
    """A sine with noise whose level goes up or down by `jump`, `since` steps before the end of the window; 0: never."""
    length = s.context + s.horizon
    phase = torch.rand(batch, 1, generator=g) * PERIOD
    series = torch.sin(2 * math.pi * (torch.arange(length) + phase) / PERIOD)
    series = series + noise * torch.randn(batch, length, generator=g)
    way = torch.randint(2, (batch, 1), generator=g) * 2.0 - 1
    after = torch.arange(length) >= s.context - since if since else torch.zeros(length)
    return windows(series + jump * way * after, s)


def end(windows: SeriesBatch, context: int) -> SeriesBatch:
    """The same windows with the last `context` steps of their past alone."""
    past, mask, clock = (part[:, -context:] for part in windows[:3])
    return windows._replace(past=past, past_mask=mask, past_clock=clock)
