"""Many events ahead: sampled futures of sequences, and the likeliest one.

    (τ, y) ~ p(· | h),   h ← scan(h, τ, y),   again until K events came, or the window W is over

All paths of all sequences go side by side, B · N rows: one call of the encoder draws one more event of each, and rows
that are over are left out of the next. Time is counted from now, which is `elapsed` after the last event of a history.

Noise belongs to a sequence: the numbers that draw its paths are a function of (seed, its id, N), not of the batch that
it comes in, so its paths are the same in every batch, up to the rounding of the encoder's products. A gap takes two
uniform numbers (which component, and where in it), a mark one, and labels one each.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from forecast.heads.elapsed import after
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import Next
from forecast.inference.event_memory import Memory, ahead, begin
from forecast.types import EventBatch, EventSpec

MOST = 512  # events of one path; beyond it a path is cut off
BLOCK = 32  # steps whose noise is drawn at once
Extra = Callable[[Tensor], Tensor]  # times (R,) float64 -> what is known of an event then (R, E), scaled


class Paths(NamedTuple):
    """N futures of B sequences, at most K events each; 0 where `mask` is False."""

    gaps: Tensor  # (B, N, K) float32, the first one from the last event of the history on
    marks: Tensor  # (B, N, K) int64, or (B, N, K, M) bool labels
    mask: Tensor  # (B, N, K) bool, True where an event came, in the window where there is one
    elapsed: Tensor  # (B,) float64, from the last event of the history to now
    cut: Tensor  # (B, N) bool, True where there would be more: the window was not over after K events
    some: Tensor  # (B,) P(at least one event in the window), from the distribution of the gap itself; 1 without window

    @property
    def times(self) -> Tensor:
        """(B, N, K) float64 from now on, infinite where there is no event."""
        return (self.gaps.double().cumsum(-1) - self.elapsed[:, None, None]).masked_fill(~self.mask, torch.inf)

    @property
    def totals(self) -> Tensor:
        """(B, N) events of each path."""
        return self.mask.sum(-1)

    def counts(self, marks: int) -> Tensor:
        """(B, N, M) events of each mark in each path."""
        if self.marks.ndim == 4:
            return (self.marks & self.mask[..., None]).sum(2)
        counted = torch.zeros(*self.mask.shape[:2], marks, dtype=torch.int64, device=self.mask.device)
        return counted.scatter_add_(-1, self.marks, self.mask.long())

    def expected(self, marks: int) -> Tensor:
        """(B, M) float64: the mean count of each mark."""
        return self.counts(marks).double().mean(1)

    def count_quantiles(self, levels: Sequence[float]) -> Tensor:
        """(B, Q) float64: the least count that so many of the paths do not exceed."""
        return _quantiles(self.totals.double(), levels)

    def time_quantiles(self, event: int, levels: Sequence[float]) -> Tensor:
        """(B, Q) float64: when the `event`-th event, from 1 on, has come in so many of the paths; infinite: later."""
        if event < 1:
            raise ValueError(f"the event is number {event}; expected 1 or more")
        if event > self.mask.shape[-1]:
            return torch.full((len(self.mask), len(levels)), torch.inf, dtype=torch.float64, device=self.mask.device)
        return _quantiles(self.times[..., event - 1], levels)


class Likeliest(NamedTuple):
    """One future of B sequences: after each event the likeliest mark at the median gap."""

    times: Tensor  # (B, K) float64 from now on, infinite where there is no event
    marks: Tensor  # (B, K) int64, or (B, K, M) bool labels
    mask: Tensor  # (B, K) bool
    probabilities: Tensor  # (B, K, M) float32, of each mark


@torch.inference_mode()
def sample_paths(
    chain: EventChain, history: EventBatch, *, paths: int = 32, events: int | None = None,
    window: float | None = None, most: int = MOST, elapsed: Tensor | None = None, seed: int = 0,
    ids: Sequence[int] | None = None, time: Tensor | None = None, extra: Extra | None = None, recompute: bool = False,
) -> Paths:  # fmt: skip
    """Paths of the next `events` events, or of all events within `window` (in the unit of gaps), `most` at most.

    history: (B, L) events, a batch as training has it; its targets are not looked at. elapsed: (B,) time from the last
    event to now in which nothing came, 0 where not given. ids: numbers to which noise belongs, those of the sequences
    where not given. time: (B,) when the last event was, for `extra`, which tells what is known of an event at a time;
    without it covariates of events to come are 0, their mean. recompute: without the state of a chain that streams.
    """
    _check(paths, events, window, most, chain.spec, extra, time)
    now = _now(history, elapsed)
    memory = begin(chain, history, recompute=recompute)
    some = _some(memory, now, window)
    limit = np.inf if events is not None else float(window or 0.0)
    noise = _Noise(seed, history.sequence.tolist() if ids is None else ids, paths, _draws(chain.spec))
    walk = _Walk(memory.repeated(paths), now.repeat_interleave(paths), chain.spec, limit, extra,
                 None if time is None else time.double().repeat_interleave(paths))  # fmt: skip
    for step in range(most if events is None else events):
        if not len(walk.rows):
            break
        if step:
            walk.push()
        following = ahead(walk.memory)
        walk.take(*drawn(following, noise.step(walk.rows, walk.clock.device), None if step else walk.now))
    gaps, marks, mask = walk.result()
    shape = len(now), paths, mask.shape[-1]
    cut = torch.zeros(len(now) * paths, dtype=torch.bool, device=mask.device)
    cut[walk.rows] = events is None
    return Paths(gaps.reshape(shape), marks.reshape(*shape, *marks.shape[2:]), mask.reshape(shape), now,
                 cut.reshape(shape[:2]), some)  # fmt: skip


@torch.inference_mode()
def likeliest(
    chain: EventChain, history: EventBatch, *, events: int | None = None, window: float | None = None,
    most: int = MOST, elapsed: Tensor | None = None, time: Tensor | None = None, extra: Extra | None = None,
    recompute: bool = False,
) -> Likeliest:  # fmt: skip
    """One future, event after event as if what was likeliest had come; arguments as in `sample_paths`."""
    _check(1, events, window, most, chain.spec, extra, time)
    now = _now(history, elapsed)
    limit = np.inf if events is not None else float(window or 0.0)
    walk = _Walk(begin(chain, history, recompute=recompute), now, chain.spec, limit, extra,
                 None if time is None else time.double())  # fmt: skip
    shares = []
    for step in range(most if events is None else events):
        if not len(walk.rows):
            break
        if step:
            walk.push()
        following = ahead(walk.memory)
        gap = following.gaps.median()
        if not step:
            passed = walk.now[:, None].to(gap.dtype)
            gap = torch.where(passed > 0, passed + after(following.gaps, passed).median(), gap)
        share = following.mark_probabilities(gap)[:, 0]
        shares.append(torch.zeros(len(now), share.shape[1], device=now.device))
        shares[-1][walk.rows] = share.float()
        walk.take(gap[:, 0], share > 0.5 if chain.spec.labels else share.argmax(-1))
    gaps, marks, mask = walk.result()
    times = (gaps.double().cumsum(-1) - now[:, None]).masked_fill(~mask, torch.inf)
    return Likeliest(times, marks, mask, torch.stack(shares, 1)[:, : mask.shape[1]])


def drawn(following: Next, noise: Tensor, elapsed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Forecasts (R, 1) and uniform noise (R, 3 or 2 + M) -> one gap (R,) and mark (R,), or labels (R, M), of each row.
    `elapsed` (R,): what is over of the gap already."""
    gaps = following.gaps
    picked = _picked(gaps.log_weight[:, 0].exp(), noise[:, 0])
    place, scale = (x[:, 0].gather(1, picked[:, None])[:, 0] for x in (gaps.place, gaps.log_scale.exp()))
    gap = gaps._gap(place + scale * torch.special.ndtri(noise[:, 1]).to(place.dtype))
    gap = (gap / gaps.grid).round() * gaps.grid if gaps.grid else gap
    if elapsed is not None and bool((over := elapsed > 0).any()):
        passed = elapsed[over, None].to(gap.dtype)
        some = gaps.at(over)
        gap[over] = (passed + after(some, passed).draw(noise[over, :1], noise[over, 1:2]))[:, 0]
    if following.marks.one:
        return gap, torch.zeros(len(gap), dtype=torch.int64, device=gap.device)
    shares = following.mark_probabilities(gap[:, None])[:, 0]
    return gap, noise[:, 2:] < shares if following.marks.labels else _picked(shares, noise[:, 2])


class _Walk:
    """R rows on their way, and what came. A row whose next event is after `limit` is over."""

    def __init__(
        self, memory: Memory, now: Tensor, spec: EventSpec, limit: float, extra: Extra | None, time: Tensor | None
    ) -> None:
        self.memory, self.spec, self.limit, self.extra, self.time = memory, spec, limit, extra, time
        self.total, self.now = len(now), now
        self.rows = torch.arange(len(now), device=now.device)  # those that are not over
        self.clock = -now  # (R,) when the last event of each was, from now
        self.gaps: list[Tensor] = []
        self.marks: list[Tensor] = []
        self.mask: list[Tensor] = []
        self.next = memory.latest.new_zeros(0), torch.zeros(0, dtype=torch.int64)  # events that are to be pushed

    def take(self, gap: Tensor, mark: Tensor) -> None:
        """The next event of each row that is not over."""
        self.clock[self.rows] += gap.double()
        inside = self.clock[self.rows] <= self.limit
        rows = self.rows[inside]
        all_gaps, hit = gap.new_zeros(self.total), torch.zeros(self.total, dtype=torch.bool, device=gap.device)
        all_marks = mark.new_zeros(self.total, *mark.shape[1:])
        all_gaps[rows], all_marks[rows], hit[rows] = gap[inside], mark[inside], True
        for store, value in zip((self.gaps, self.marks, self.mask), (all_gaps, all_marks, hit), strict=True):
            store.append(value)
        if len(rows) < len(self.rows):
            self.memory = self.memory.taken(inside.nonzero()[:, 0])
        self.rows, self.next = rows, (gap[inside], mark[inside])

    def push(self) -> None:
        """The memory learns of the event that was taken."""
        gap, mark = self.next
        extra = None
        if self.spec.extra:
            extra = gap.new_zeros(len(gap), len(self.spec.extra))
            if self.extra is not None and self.time is not None:
                at = self.time[self.rows] + self.now[self.rows] + self.clock[self.rows]
                extra = self.extra(at).to(gap.dtype)
        self.memory = self.memory.pushed(gap.clamp(min=self.spec.floor), mark, extra)

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gaps (R, K), marks (R, K, …), mask (R, K) without steps in which nothing came."""
        gaps, marks, mask = (torch.stack(parts, 1) for parts in (self.gaps, self.marks, self.mask))
        steps = max(1, int(mask.sum(1).max()))
        return gaps[:, :steps], marks[:, :steps], mask[:, :steps]


class _Noise:
    """Uniform numbers in (0, 1), step by step, from a generator of each sequence."""

    def __init__(self, seed: int, ids: Sequence[int], paths: int, draws: int) -> None:
        self.generators = [np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, one]))) for one in ids]
        self.shape, self.at = (BLOCK, paths, draws), BLOCK
        self.block: Tensor = torch.zeros(0)

    def step(self, rows: Tensor, device: torch.device) -> Tensor:
        """(R, draws) float64 for these rows, of which each sequence has N."""
        if self.at == BLOCK:
            self.at, paths = 0, self.shape[1]
            there = np.unique(rows.cpu().numpy() // paths)
            block = np.zeros((len(self.generators), *self.shape))
            for one in there:
                block[one] = self.generators[one].random(self.shape)
            tiny = 2.0**-54  # half of what the generator counts in: 0 is a number of it
            moved = torch.from_numpy(block).add_(tiny).transpose(0, 1).reshape(BLOCK, -1, self.shape[2])
            self.block = moved.to(device)
        self.at += 1
        return self.block[self.at - 1][rows]


def _draws(spec: EventSpec) -> int:
    return 2 + (len(spec.marks) if spec.labels else 1)


def _picked(weight: Tensor, noise: Tensor) -> Tensor:
    """(R, K) shares and (R,) noise -> the number of one of K."""
    sums = weight.double().cumsum(-1)
    return (sums < noise[:, None] * sums[:, -1:]).sum(-1).clamp(max=weight.shape[-1] - 1)


def _now(history: EventBatch, elapsed: Tensor | None) -> Tensor:
    zero = torch.zeros(len(history.gaps), dtype=torch.float64, device=history.gaps.device)
    return zero if elapsed is None else zero + elapsed.double()


def _some(memory: Memory, now: Tensor, window: float | None) -> Tensor:
    if window is None:
        return torch.ones_like(now)
    gaps = ahead(memory).gaps
    return after(gaps, now[:, None]).cdf(gaps.place.new_full((len(now), 1), window))[:, 0].double()


def _quantiles(values: Tensor, levels: Sequence[float]) -> Tensor:
    """(B, N) -> (B, Q): the values below or at which at least so many of N lie; nothing is interpolated."""
    if not all(0 < level <= 1 for level in levels):
        raise ValueError(f"levels are {', '.join(str(level) for level in levels)}; expected shares above 0, up to 1")
    place = [max(0, int(np.ceil(level * values.shape[1] - 1e-9)) - 1) for level in levels]
    return values.sort(1).values[:, place]


def _check(
    paths: int, events: int | None, window: float | None, most: int, spec: EventSpec, extra: Extra | None,
    time: Tensor | None,
) -> None:  # fmt: skip
    if (events is None) == (window is None):
        raise ValueError(f"events is {events} and window {window}; expected one of the two")
    if min(paths, most, 1 if events is None else events) < 1 or not (window is None or 0 < window < np.inf):
        found = f"paths is {paths}, events {events}, window {window}, most {most}"
        raise ValueError(f"{found}; expected 1 or more, and a window above 0")
    if extra is not None and time is None and spec.extra:
        raise ValueError("what is known of events to come is asked for by their times; give time, that of the last")
