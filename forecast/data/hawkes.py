"""A process whose truth is known: the multivariate exponential Hawkes process, to test models of events against.

    λ_m(t) = μ_m + Σ_{t_j < t} A[m, k_j] β exp(−β (t − t_j)),      k_j: the mark of event j

A[m, k] is how many events of mark m one event of mark k brings about; the process is stable while the spectral
radius of A is below 1. With Λ = Σ_m λ_m the density of the next event at t with mark m, t₀ being the one before, is

    λ_m(t) exp(−∫_{t₀}^t Λ) = [Λ(t) exp(−∫ Λ)] · [λ_m(t) / Λ(t)] = time · mark,

and exp(−∫ Λ) from the last event to the end is the survival of the last interval. Between events the excitation
E_m = λ_m − μ_m decays by exp(−β Δ), so its integral is E_m (1 − exp(−β Δ)) / β. All in float64.

Simulated by thinning (Ogata 1981): Λ falls between events, so its value bounds what follows; a candidate that comes
after an exponential waiting time of that rate is taken with the probability Λ(candidate) / bound.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.data.event_split import Part, whole
from forecast.data.events import Events, Floats
from forecast.data.freq import Ints
from forecast.errors import UsageError


class Hawkes(NamedTuple):
    """The parameters, M marks; checked by `hawkes`."""

    base: Floats  # (M,) μ, events per unit of time
    excite: Floats  # (M, M) A, from the mark in the column to the mark in the row
    decay: float  # β, per unit of time

    @property
    def rate(self) -> Floats:
        """(M,) long-run events per unit of time: (1 − A)⁻¹ μ."""
        return np.linalg.solve(np.eye(len(self.base)) - self.excite, self.base).astype(np.float64)


class Oracle(NamedTuple):
    """What the truth scores, in nats per event; the first event of a sequence is given the empty past from time 0."""

    time: Floats  # (N,) log density of the event's time given what was before
    mark: Floats  # (N,) log probability of its mark given its time
    guess: Ints  # (N,) the likeliest mark at its time
    compensator: Floats  # (N,) ∫ Λ from the event before (or 0) to the event: exponential with mean 1
    last: Floats  # (S,) log survival from the last event to the end


class Scores(NamedTuple):
    """Means over the targets of a part."""

    time: float
    mark: float
    accuracy: float
    events: int


def hawkes(base: ArrayLike, excite: ArrayLike, decay: float) -> Hawkes:
    """The process of these numbers; UsageError where it is none, or would explode."""
    rates, matrix = np.asarray(base, dtype=np.float64), np.asarray(excite, dtype=np.float64)
    if rates.ndim != 1 or matrix.shape != (len(rates), len(rates)):
        raise UsageError(
            f"hawkes: base is of the shape {rates.shape}, excite of {matrix.shape}",
            "expected (M,) and (M, M)",
            "give a rate for each mark, and a row of excite",
        )
    if not ((rates >= 0).all() and rates.sum() > 0 and (matrix >= 0).all() and 0 < decay < np.inf):
        raise UsageError(
            "hawkes: a rate is negative, or none is positive",
            "expected base >= 0, excite >= 0 and decay > 0",
            "correct it",
        )
    if not (radius := float(np.abs(np.linalg.eigvals(matrix)).max())) < 1:
        raise UsageError(
            f"hawkes: the spectral radius of excite is {radius:.3g}",
            "expected less than 1: one event must not bring about another or more",
            "make excite smaller",
        )
    return Hawkes(rates, matrix, float(decay))


# The process of the tests: about 45 events in 50 units of time. The truth scores −0.645 nats per event for times, with
# 500 sequences ± 0.02 (what happened more often was likelier), and −1.003 ± 0.003 for marks, 48 % of them right.
THREE: Final = hawkes((0.2, 0.1, 0.05), ((0.3, 0.1, 0.0), (0.4, 0.2, 0.1), (0.0, 0.5, 0.2)), 2.0)


def simulate(process: Hawkes, sequences: int, end: float, *, seed: int | Sequence[int], unit: str = "unit") -> Part:
    """Sequences that start empty at 0 and are watched until `end`; those without any event are left out.

    All sequences advance together, each step by one candidate.
    """
    rng = np.random.default_rng(seed)
    marks = len(process.base)
    time, excited = np.zeros(sequences), np.zeros((sequences, marks))
    live = np.arange(sequences)
    taken: list[tuple[Ints, Floats, Ints]] = []
    while len(live):
        bound = process.base.sum() + excited[live].sum(axis=1)
        wait = rng.exponential(size=len(live)) / bound
        chance = rng.random(len(live)) * bound
        time[live] += wait
        excited[live] *= np.exp(-process.decay * wait)[:, None]
        inside = time[live] <= end
        live, chance = live[inside], chance[inside]
        # One draw says both: whether the candidate is taken (it lies below Λ) and by which mark.
        heights = np.cumsum(process.base + excited[live], axis=1)
        mark = (chance[:, None] >= heights).sum(axis=1)
        hit = mark < marks
        here = live[hit]
        excited[here] += process.decay * process.excite[:, mark[hit]].T
        taken.append((here, time[here], mark[hit]))
    return whole(_events(taken, marks, unit), end)


def _events(taken: list[tuple[Ints, Floats, Ints]], marks: int, unit: str) -> Events:
    """The events of all steps, sequence after sequence."""
    number, time, mark = (np.concatenate(column) for column in zip(*taken, strict=True))
    order = np.argsort(number, kind="stable")  # steps go forward in time
    there, counts = np.unique(number, return_counts=True)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    names = tuple(str(code) for code in range(marks))
    return Events(tuple(str(i) for i in there), start, time[order], mark[order], names, unit, 0.0)


def oracle(process: Hawkes, part: Part) -> Oracle:
    """The exact log likelihood of every event and of the last intervals; O(N), all sequences together."""
    events, marks = part.events, len(process.base)
    counts, count = events.counts, len(events.time)
    time, mark, compensator = np.empty(count), np.empty(count), np.empty(count)
    guess = np.empty(count, dtype=np.int64)
    longest = np.argsort(-counts, kind="stable")  # those still going on are the first ones
    reach = np.searchsorted(-counts[longest], -np.arange(counts.max()), side="left")
    now, excited = np.zeros(len(counts)), np.zeros((len(counts), marks))
    for step, going in enumerate(reach):
        here = longest[:going]
        rows = events.start[:-1][here] + step
        spent, decayed = _ahead(process, excited[here], events.time[rows] - now[here])
        intensity = process.base + decayed
        total = intensity.sum(axis=1)
        compensator[rows] = spent
        time[rows] = np.log(total) - spent
        mark[rows] = np.log(intensity[np.arange(going), events.mark[rows]] / total)
        guess[rows] = intensity.argmax(axis=1)
        excited[here] = decayed + process.decay * process.excite[:, events.mark[rows]].T
        now[here] = events.time[rows]
    return Oracle(time, mark, guess, compensator, -_ahead(process, excited, part.end - now)[0])


def _ahead(process: Hawkes, excited: Floats, wait: Floats) -> tuple[Floats, Floats]:
    """∫ Λ over the time to wait (S,), and the excitation (S, M) after it; `excited` (S, M) is that before it."""
    keep = np.exp(-process.decay * wait)
    lost = -np.expm1(-process.decay * wait) / process.decay
    return process.base.sum() * wait + excited.sum(axis=1) * lost, excited * keep[:, None]


def intensities(process: Hawkes, part: Part, number: int, at: Floats) -> Floats:
    """(K, M) λ of sequence `number` just before the times `at` (K,), written out as the sum; for plots and tests."""
    low, high = part.events.start[number], part.events.start[number + 1]
    since = at[:, None] - part.events.time[low:high]
    past: NDArray[np.bool_] = since > 0
    kernel = np.where(past, process.decay * np.exp(-process.decay * np.where(past, since, 0.0)), 0.0)
    return process.base + kernel @ process.excite[:, part.events.mark[low:high]].T


def score(process: Hawkes, part: Part) -> Scores:
    """The oracle's means over the targets of a part: what no model can beat by more than noise."""
    truth, target = oracle(process, part), part.target
    right = truth.guess[target] == part.events.mark[target]
    return Scores(
        float(truth.time[target].mean()), float(truth.mark[target].mean()), float(right.mean()), int(target.sum())
    )
