"""The rows that stand in every table of events: what is known of the next event without a model of its history.

    constant gap      the mean of train's gaps, for squared errors, and their median, for absolute ones
    Poisson           exponential gaps of train's mean
    mixture           log-normals fitted to train's gaps by expectation-maximisation from their quantiles: nothing is
                      drawn. Scored as a model's are (heads/gaps.py): by cells where gaps have a grid
    majority mark     train's shares of marks;   repeat-last mark: the mark before
    Markov marks      P(y | x) = (n_xy + p_y) / (n_x + 1) after mark x, with train's counts n and shares p

Log-likelihoods are nats per event, over the events that Targets hold.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.errors import DataError
from forecast.heads.gaps import Gaps

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]
Scores = dict[str, dict[str, float]]

COMPONENTS = 16
GROUPS = 4096  # of like gaps that a fit tells apart; quantiles of more
ROUNDS, ENOUGH = 200, 1e-6  # of expectation-maximisation: the most, and the gain in nats that is not worth another
NARROWEST = float(np.exp(-5))  # deviation of a component, in deviations of log gaps: a model's least
AT_ONCE = 1 << 14  # gaps scored at once


class Targets(NamedTuple):
    """Events that are forecast: N of them, with what came before each."""

    gap: Numbers  # (N,) since the event before, in units of time
    mark: Codes  # (N,) 0 … M - 1, or M, unknown
    previous: Codes  # (N,) mark of the event before


def targets(sequence: Codes, time: Numbers, mark: Codes, keep: NDArray[np.bool_] | None = None) -> Targets:
    """Events (N,) in order of sequence and time -> those that have one before them in their sequence and where `keep`;
    what came before may be outside of `keep`, as validation lies before test."""
    second = sequence[1:] == sequence[:-1]
    if keep is not None:
        second = second & keep[1:]
    return Targets(np.diff(time)[second], mark[1:][second].astype(np.int64), mark[:-1][second].astype(np.int64))


def floors(
    train: Targets, test: Targets, *, marks: int, grid: float = 0.0, least: float | None = None,
    components: int = COMPONENTS,
) -> Scores:  # fmt: skip
    """Name of a floor -> its scores on test. `grid` is the step of the recording clock. Without one, a density is
    scored: gaps below `least` are taken as `least`, and no component is narrower than that, which keeps a density from
    spikes; where it is not given, gaps of 0 are taken as train's smallest above 0."""
    if not len(train.gap) or not len(test.gap):
        part = "test" if len(train.gap) else "train"
        raise DataError(
            f"no event of {part} has another before it", "expected sequences of two events or more",
            "choose other dates of the split",
        )  # fmt: skip
    if not (train.gap > 0).any():
        raise DataError("all events of train are at the same time", "expected a gap above 0")
    floor = 0.0 if grid else float(train.gap[train.gap > 0].min()) if least is None else least
    seen, scored = np.maximum(train.gap, floor), np.maximum(test.gap, floor)
    mean, median = float(train.gap.mean()), float(np.median(train.gap))
    mixture = fit(seen, components=components, grid=grid, blur=0.0 if grid else least or 0.0)
    scores = {
        "constant gap": _errors(test.gap, mean, median),
        "Poisson": {"time": float(poisson(scored, mean, grid).mean())},
        "mixture": {
            "time": float(log_prob(mixture, scored).mean()),
            **_errors(test.gap, float(mixture.mean()), float(mixture.median())),
        },
        **mark_floors(train, test, marks),
    }
    best = scores["mixture"]["time"], scores["Markov marks"]["mark"]
    scores["mixture and Markov marks"] = {"time": best[0], "mark": best[1], "total": sum(best)}
    return scores


def mark_floors(train: Targets, test: Targets, marks: int) -> Scores:
    """The floors of marks; what is unknown in test is not scored."""
    count = np.bincount(train.mark[train.mark < marks], minlength=marks).astype(np.float64)
    share = (count + 1) / (count.sum() + marks)  # a mark that train never saw is possible
    known = test.mark < marks
    mark, previous = test.mark[known], test.previous[known]
    most = np.full(len(mark), count.argmax())
    log_markov, likeliest = _markov(train, previous, mark, share)
    return {
        "majority mark": {"mark": _mean(np.log(share[mark])), **_hits(mark, most)},
        "repeat-last mark": _hits(mark, previous),
        "Markov marks": {"mark": _mean(log_markov), **_hits(mark, likeliest)},
    }


def label_floors(scores: Scores, sets: tuple[Flags, Flags], train: Targets, test: Targets) -> Scores:
    """`scores` with floors of labels in place of those of marks. `sets` (K, M) are the labels of each mark of train and
    of test; each label comes by itself, as often as in train, or as in the event before."""
    seen, came, before = sets[0][train.mark], sets[1][test.mark], sets[1][test.previous]
    share = (seen.sum(0) + 0.5) / (len(seen) + 1)
    nats = float((came @ np.log(share) + ~came @ np.log(1 - share)).mean())
    usual = np.broadcast_to(share > 0.5, came.shape)
    time = scores["mixture"]["time"]
    return {
        **{name: scores[name] for name in ("constant gap", "Poisson", "mixture")},
        "usual labels": {"mark": nats, **_label_hits(came, usual)},
        "repeat-last labels": _label_hits(came, before),
        "mixture and usual labels": {"time": time, "mark": nats, "total": time + nats},
    }


def _label_hits(came: Flags, guess: Flags) -> dict[str, float]:
    either = came.sum(0) + guess.sum(0)
    right = (came & guess).sum(0)
    same = (came == guess).all(axis=1)
    return {"accuracy": _mean(same), "macro_f1": _mean(2 * right[either > 0] / either[either > 0])}


def fit(gap: Numbers, *, components: int = COMPONENTS, grid: float = 0.0, blur: float = 0.0) -> Gaps:
    """Log-normals for gaps (N,) above 0, or, with a grid, from 0 on: float64, one row.

    The deviation of a component is at least NARROWEST of that of log gaps, and, in units of time, `blur` and that of
    the uniform distribution over a cell of the grid.
    """
    value, weight = _grouped(np.log(np.maximum(gap, grid / 4)))  # a quarter: the middle of the cell of 0
    spread = float(np.sqrt(weight @ (value - weight @ value) ** 2)) or 1.0
    place = np.quantile(value, (np.arange(components) + 0.5) / components, weights=weight, method="inverted_cdf")
    least, blur = NARROWEST * spread, max(blur, grid / 12**0.5)
    scale, share, before = np.full(components, 2 * spread / components), np.full(components, 1 / components), -np.inf
    for _ in range(ROUNDS):
        scale = np.maximum(scale, np.maximum(least, blur * np.exp(-place)))
        parts = np.log(share / scale) - 0.5 * (((value[:, None] - place) / scale) ** 2 + np.log(2 * np.pi))
        total = np.logaddexp.reduce(parts, axis=1)
        if (likelihood := float(weight @ total)) < before + ENOUGH:
            break
        before = likelihood
        belongs = np.exp(parts - total[:, None]) * weight[:, None]
        held = belongs.sum(0) + 1e-12  # a component that holds nothing stays where it is
        place = (belongs.T @ value + 1e-12 * place) / held
        scale = np.sqrt((belongs * (value[:, None] - place) ** 2).sum(0) / held)
        share = held / held.sum()
    log_share, at, log_scale = (torch.from_numpy(x)[None] for x in (np.log(share), place, np.log(scale)))
    one = torch.ones((), dtype=torch.float64)
    return Gaps(log_share, at, log_scale, one, torch.zeros_like(one), grid)


def log_prob(mixture: Gaps, gap: Numbers) -> Numbers:
    """Nats of each gap (N,), by a mixture of one row."""
    parts = torch.from_numpy(gap).split(AT_ONCE)
    return np.concatenate([mixture.log_prob(part).numpy() for part in parts])


def _grouped(value: Numbers) -> tuple[Numbers, Numbers]:
    """At most GROUPS values, in order, and their weights, which add up to 1."""
    single, count = np.unique(value, return_counts=True)
    if len(single) > GROUPS:
        ends = np.linspace(0, len(value), GROUPS + 1).astype(np.int64)
        count = np.diff(ends)
        single = np.add.reduceat(np.sort(value), ends[:-1]) / count
    return single, count / count.sum()


def poisson(gap: Numbers, mean: float, grid: float) -> Numbers:
    """log p of exponential gaps; of their cells where there is a grid."""
    if not grid:
        return -np.log(mean) - gap / mean
    steps = np.round(gap / grid)
    low = np.maximum(steps - 0.5, 0) * grid
    return -low / mean + np.log(-np.expm1(-((steps + 0.5) * grid - low) / mean)) - np.log(grid)


def _markov(train: Targets, previous: Codes, mark: Codes, share: Numbers) -> tuple[Numbers, Codes]:
    """log P(mark | previous) and the likeliest mark after `previous`, (N,) each. Only pairs that came are counted, for
    ten thousand marks have a hundred million pairs."""
    marks = len(share)
    known = train.mark < marks
    pair, count = np.unique(train.previous[known] * marks + train.mark[known], return_counts=True)
    of = pair // marks
    total = np.bincount(of, weights=count, minlength=marks + 1)
    key = previous * marks + mark
    at = np.minimum(np.searchsorted(pair, key), len(pair) - 1)
    came = np.where(pair[at] == key, count[at], 0)
    probability = (came + share[mark]) / (total[previous] + 1)
    likeliest = np.full(marks + 1, share.argmax())
    worth = count + share[pair % marks]
    order = np.argsort(worth, kind="stable")  # the last to be written is the most frequent
    likeliest[of[order]] = pair[order] % marks
    return np.log(probability), likeliest[previous]


def _errors(gap: Numbers, mean: float, median: float) -> dict[str, float]:
    return {"rmse": float(np.sqrt(np.mean((gap - mean) ** 2))), "mae": float(np.mean(np.abs(gap - median)))}


def _hits(mark: Codes, guess: Codes) -> dict[str, float]:
    """Accuracy, and the mean F1 of the marks that came or were forecast; not a number where there are none."""
    size = int(max(mark.max(initial=0), guess.max(initial=0))) + 1
    right, came = (np.bincount(some, minlength=size) for some in (mark[mark == guess], mark))
    guessed = np.bincount(guess, minlength=size)
    either = came + guessed
    return {"accuracy": _mean(mark == guess), "macro_f1": _mean(2 * right[either > 0] / either[either > 0])}


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
