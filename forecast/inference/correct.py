"""A streamed forecast that corrects itself: what came is compared with what was forecast for it, series by series.

The model stays frozen. Beside its state each series has a row of `width` float32, whatever the length of the stream:
forecasts that wait for their truth, at a few leads (knots; the other leads lie between them), and what was learned.

The middle. Exponentially weighted means learn, at each knot, the bias of the forecast made so many steps before, and a
profile of its errors over the season. Both, and what they left of the last one-step error, are applied by gains

    g = E[r x] / (E[x²] + RIDGE · E[d²]),  within [0, 1],

where x is what would have been added when the forecast was made, r the error that was left for it to explain and d the
errors about their bias. What does not persist is not applied, and the forecast tends to the frozen one. Errors beyond
`jump` usual ones, n ≥ 2 steps in a row and on one side, are a new level: they are added at once, at lead h by the share
sqrt(n / (n + h)), as what has lasted long goes on longer. Once it has lasted H steps it is a bias of all leads.

The ends of the interval and the alarms: ends.py. Nothing is learned from a value before it is known. All operations
treat each element alike, so that no row depends on those beside it. Shapes: B rows, H steps, T targets, K knots; all
values are scaled.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.inference.ends import FARTHEST, Ends, normal_score
from forecast.inference.rows import LARGEST, Array, Layout, Rates, Rows, mean, ratio, sound

HALF: Final = 1 << 20  # a step is kept as two numbers, which float32 holds exactly
MANY: Final = 1 << 20  # values counted at most
SHORTEST: Final = 12  # steps that a new level lasts before it is a bias
POINT, LOW, HIGH, CARRIED = range(4)  # what a slot holds: the raw point, the issued ends, what of the last error


class Corrector:
    """The rules of learning; the state is in the rows, one for each series. In the order of a step:

        p, alarm = corrector.anomaly(rows, step, truth)
        rows = corrector.see(rows, step, truth)
        shift, (low, high) = corrector.shift(rows), corrector.stretch(rows)
        rows = corrector.issue(rows, step, point, issued_low, issued_high)

    `step` (B,) counts the steps of each series, truth (B, T) is NaN where nothing was observed. Steps may be left out,
    and so may `issue`: nothing is learned from a forecast that was not made. A step before the last one of its series
    empties what is waiting.
    """

    def __init__(
        self, horizon: int, targets: int, *, season: int = 1, budget: float = 1e-3, rates: Rates | None = None
    ) -> None:
        """`season`: steps of the profile, 1: none; `budget`: the share of values that may raise an alarm."""
        self.horizon, self.targets, self.season, self.budget = horizon, targets, season, budget
        self.rates = rates or Rates()
        self.knots = knots(horizon)
        self.layout = self._laid_out(len(self.knots), targets)
        self.ends = Ends(self.layout, len(self.knots), targets, self.rates, budget)
        self.width = self.layout.width
        self.between, self.fading = _between(self.knots, horizon), _fading(self.knots, horizon)

    def _laid_out(self, k: int, t: int) -> Layout:
        row, season = Layout(), self.season if self.season > 1 else 0
        row.add("step", 2, empty=-1.0)
        row.add("count", t)  # values seen
        row.add("bias", k, t)
        row.add("before", k - 1, 2, t)  # the bias of knots after the first as it was, at two turns
        row.add("size", k, t)  # E[d²]
        row.add("late", t, empty=1.0)  # E[error²] one step ahead, corrected, over the usual one
        row.add("last", t, empty=np.nan)  # what bias and profile left of the last one-step error
        row.add("run", t)  # steps in a row in which that was far out, negative below
        row.add("applied", k, 2, t)  # E[r x], E[x²] of the bias,
        row.add("carried", min(k, 2), 2, t)  # of the last error
        row.add("seasonal", 2 if season else 0, t)  # and of the profile
        row.add("profile", season, t)
        for i, knot in enumerate(self.knots):
            row.add(f"ring{i}", knot, 4 if i == 1 else 3, t, empty=np.nan)
        return row

    def start(self, n: int) -> Rows:
        """(n, width) rows of series before their first step."""
        return self.layout.start(n)

    def see(self, rows: Rows, step: Ints, truth: NDArray[Any]) -> Rows:
        """New rows after truths (B, T) of `step`."""
        rows, y = np.array(rows, np.float32), sound(truth)
        self.ends.alarms(rows, self._far(rows, step, y))
        self._move(rows, step)
        slots = self._taken(rows, step)
        self.ends.outcome(rows, y, [slot[:, LOW : HIGH + 1] for slot in slots])
        self._learned(rows, step, np.stack([sound(y - slot[:, POINT]) for slot in slots], 1), slots)
        return rows

    def issue(
        self, rows: Rows, step: Ints, point: NDArray[Any], low: NDArray[Any] | None, high: NDArray[Any] | None
    ) -> Rows:
        """New rows with the forecast that was made after `step`: raw points (B, H, T), and the ends (B, H, T) of the
        90 % interval as they were issued, corrected; None or NaN where there are none."""
        rows, at = np.array(rows, np.float32), np.arange(len(rows))
        self._move(rows, step)
        if low is not None and high is not None:
            lead = np.array(self.knots) - 1
            self.ends.issued(rows, sound(high[:, lead]) - sound(low[:, lead]))
        for i, knot in enumerate(self.knots):
            ring = self.layout.of(rows, f"ring{i}")
            for part, values in ((POINT, point), (LOW, low), (HIGH, high)):
                ring[at, step % knot, part] = np.nan if values is None else sound(values[:, knot - 1])
            if i == 1:
                ring[at, step % knot, CARRIED] = self._carried(rows)
        return rows

    def shift(self, rows: Rows, leads: int | None = None) -> Array:
        """(B, H, T): what is to be added to every point and quantile; of the first leads alone where `leads` says how
        many."""
        leads = leads or self.horizon
        lead, (left, share) = np.arange(1, leads + 1), self.between
        bias = self._gain(rows, "applied") * self.layout.get(rows, "bias")
        carried = self._gain(rows, "carried") * np.nan_to_num(self._carried(rows))[:, None]
        found = _spread(bias, (left[:leads], share[:leads])) + self._jump(rows, lead)
        for i, weight in enumerate(self.fading):
            found += carried[:, i, None] * weight[:leads, None]
        if self.season > 1:
            at, place = np.arange(len(rows))[:, None], (self._step(rows)[:, None] + lead) % self.season
            found += self._gain(rows, "seasonal") * self.layout.get(rows, "profile")[at, place]
        return found

    def stretch(self, rows: Rows) -> tuple[Array, Array]:
        """(B, H, T) each: what the distance of a quantile below the median, and of one above it, is multiplied with.
        The median is that of the calibration, which may be off the point."""
        each = self.ends.stretch(rows)
        return _spread(each[:, :, 0], self.between), _spread(each[:, :, 1], self.between)

    def anomaly(self, rows: Rows, step: Ints, truth: NDArray[Any]) -> tuple[Array, NDArray[np.bool_]]:
        """Rows before `see`, and truths (B, T) of `step` -> the probability (B, T) of a value as far out, to either
        side, under the one-step forecast that was issued, NaN where unknown, and which are alarms."""
        from scipy.special import ndtr  # here: what has no use for alarms need not wait for its import

        far = self._far(rows, step, sound(truth))
        return 2 * ndtr(-far), far > self.layout.get(rows, "threshold")

    # Before a truth ------------------------------------------------------------------------------------------

    def _step(self, rows: Rows) -> Ints:
        """(B,) the last step, negative before the first."""
        high, low = self.layout.of(rows, "step").astype(np.int64).T
        return np.where(low < 0, -1, high * HALF + low)

    def _move(self, rows: Rows, step: Ints) -> None:
        """On to `step`: slots of the steps between are emptied, and biases as they were take their turn."""
        last, begun = self._step(rows), self.layout.of(rows, "step")[:, 1] >= 0
        skipped = np.where(~begun | (step < last), np.iinfo(np.int64).max, step - last - 1)
        bias, before = self.layout.of(rows, "bias"), self.layout.of(rows, "before")
        for i, knot in enumerate(self.knots):
            if (skipped > 0).any():
                back = (step[:, None] - 1 - np.arange(knot)) % knot  # steps from this one to that which read the slot
                self.layout.of(rows, f"ring{i}")[back < skipped[:, None]] = np.nan
            if i:
                turn = begun & (step // knot != last // knot)
                before[turn, i - 1] = np.stack([bias[turn, i], before[turn, i - 1, 0]], 1)
        self.layout.of(rows, "last")[skipped > 0] = np.nan
        self.layout.of(rows, "run")[skipped > 0] = 0.0
        self.layout.of(rows, "step")[:] = np.stack([step // HALF, step % HALF], 1)

    def _taken(self, rows: Rows, step: Ints) -> list[Array]:
        """What was forecast for `step` at each knot, (B, 3 or 4, T); the slot is empty then."""
        at, taken = np.arange(len(rows)), []
        for i, knot in enumerate(self.knots):
            ring = self.layout.of(rows, f"ring{i}")
            taken.append(ring[at, step % knot].astype(np.float64))
            ring[at, step % knot] = np.nan
        return taken

    def _far(self, rows: Rows, step: Ints, y: Array) -> Array:
        """(B, T) the normal score, without its sign, of a truth in the one-step forecast; NaN where unknown."""
        slot = self.layout.get(rows, "ring0")[:, 0]
        low, high = slot[:, LOW], slot[:, HIGH]
        far = normal_score(y, low, np.clip(slot[:, POINT] + self.shift(rows, 1)[:, 0], low, high), high)
        return np.where((step == self._step(rows) + 1)[:, None], far, np.nan)

    # The middle ----------------------------------------------------------------------------------------------

    def _gain(self, rows: Rows, name: str) -> Array:
        """(B, n, T), n of the first knots; (B, 1, T) for the profile."""
        moment = self.layout.get(rows, name).reshape(len(rows), -1, 2, self.targets)
        size = self.layout.get(rows, "size")[:, : moment.shape[1]]
        return np.clip(ratio(moment[:, :, 0], moment[:, :, 1] + self.rates.ridge * size, 0.0), 0.0, 1.0)

    def _jump(self, rows: Rows, lead: Ints) -> Array:
        """(B, h, T) the new level at leads (h,)."""
        last, run = self.layout.get(rows, "last"), np.abs(self.layout.get(rows, "run"))
        square, limit = last * last, self.rates.jump**2 * self.layout.get(rows, "size")[:, 0]
        share = np.where((run >= 2) & (square > limit), 1 - ratio(limit, square, 1.0), 0.0)
        return np.nan_to_num(last * share)[:, None] * np.sqrt(run[:, None] / (run[:, None] + lead[:, None]))

    def _carried(self, rows: Rows) -> Array:
        """(B, T) the last error where it is no new level, NaN elsewhere."""
        last = self.layout.get(rows, "last")
        return np.where(np.abs(self.layout.of(rows, "run")) < 2, last, np.nan)

    def _learned(self, rows: Rows, step: Ints, error: Array, slots: list[Array]) -> None:
        """From errors (B, K, T) of this step, NaN where unknown."""
        get, of, rates = self.layout.get, self.layout.of, self.rates
        bias, size, known = get(rows, "bias"), get(rows, "size"), ~np.isnan(error)
        usual = np.abs(of(rows, "run"))[:, None] < 2  # what is usual is not learned from a new level
        limit = rates.clip * np.sqrt(size * np.maximum(get(rows, "late"), 1.0)[:, None])
        limit = np.where(size > 0, limit, LARGEST)
        about = np.clip(error - bias, -limit, limit)
        clipped = bias + about
        held = np.concatenate([bias[:, :1], get(rows, "before")[:, :, 1]], 1)  # the bias when the forecast was made
        left = clipped - self._gain(rows, "applied") * held
        self._moments(rows, "applied", np.where(usual, clipped, np.nan), held)
        if self.season > 1:
            left = left - self._profiled(rows, step, left, np.where(usual, about, np.nan))
        full = left[:, 0] + (error - clipped)[:, 0]
        self._late(rows, full, size[:, 0])
        carried = np.stack([self._carried(rows), *(slot[:, CARRIED] for slot in slots[1:2])], 1)
        self._moments(rows, "carried", left[:, : carried.shape[1]], carried)
        self._ran(rows, full, size[:, 0])
        count = of(rows, "count")
        known &= np.abs(of(rows, "run"))[:, None] < 2
        warm = 1 / (1 + count.astype(np.float64))[:, None]
        count += known.any(1) * (count < MANY)
        for name, rate, new in (("size", rates.size, about**2), ("bias", rates.bias, clipped)):
            old = get(rows, name)
            first = (old == 0) & (size == 0)  # a knot's first label comes when the count has gone on
            of(rows, name)[:] = np.where(known, np.where(first, new, old + np.maximum(rate, warm) * (new - old)), old)
        self._adopted(rows)

    def _adopted(self, rows: Rows) -> None:
        """A new level that has lasted is a bias of all leads, and to be applied."""
        last, run = self.layout.of(rows, "last"), self.layout.of(rows, "run")
        level = np.where(np.abs(run) >= max(self.horizon, SHORTEST), last, 0.0).astype(np.float64)
        self.layout.of(rows, "bias")[:] += level[:, None]
        self.layout.of(rows, "before")[:] += level[:, None, None]
        applied, square = self.layout.of(rows, "applied"), (level * level)[:, None, None]
        applied[:] = np.where(square > 0, np.maximum(applied, square), applied)
        last[:], run[:] = np.where(level == 0, last, 0.0), np.where(level == 0, run, 0.0)

    def _moments(self, rows: Rows, name: str, left: Array, x: Array) -> None:
        """What was left and what would have been added, (B, n, T) each, into their moments."""
        moment = self.layout.of(rows, name).reshape(len(rows), -1, 2, self.targets)
        new = moment + self.rates.moment * (np.stack([left * x, x * x], 2) - moment)
        unknown = np.isnan(left) | np.isnan(x)
        self.layout.of(rows, name).reshape(moment.shape)[:] = np.where(unknown[:, :, None], moment, new)

    def _profiled(self, rows: Rows, step: Ints, left: Array, about: Array) -> Array:
        """(B, 1, T) what the profile explains; it learns from the knots within a season."""
        at, few = np.arange(len(rows)), sum(knot <= self.season for knot in self.knots)
        profile, gain = self.layout.of(rows, "profile"), self._gain(rows, "seasonal")
        x, new = profile[at, step % self.season].astype(np.float64), mean(about[:, :few])
        self._moments(rows, "seasonal", mean(left[:, :few])[:, None], x[:, None])
        profile[at, step % self.season] = np.where(np.isnan(new), x, x + self.rates.profile * (new - x))
        return gain * x[:, None]

    def _late(self, rows: Rows, full: Array, size: Array) -> None:
        """The size of late, from what bias and profile left (B, T) of the one-step error."""
        carried = self._gain(rows, "carried")[:, 0] * np.nan_to_num(self._carried(rows))
        made = full - self._jump(rows, np.ones(1, np.int64))[:, 0] - carried
        square, late = np.minimum(ratio(made * made, size, np.nan), FARTHEST), self.layout.of(rows, "late")
        late[:] = np.where(np.isnan(square), late, late + self.rates.late * (square - late))

    def _ran(self, rows: Rows, full: Array, size: Array) -> None:
        run = self.layout.of(rows, "run")
        side = np.where((full * full > self.rates.jump**2 * size) & (size > 0), np.sign(full), 0.0)
        run[:] = np.clip(np.where(side * run > 0, run + side, side), -MANY, MANY)
        self.layout.of(rows, "last")[:] = full


def knots(horizon: int) -> tuple[int, ...]:
    """The leads that are followed."""
    return tuple(sorted({1, max(1, round(horizon / 8)), horizon}))


def _between(knots: tuple[int, ...], horizon: int) -> tuple[Ints, Array]:
    """For each lead the knot at its left and the share of the way to the next, even in the logarithm of the lead."""
    place = np.interp(np.log(np.arange(1, horizon + 1)), np.log(knots), np.arange(len(knots)))
    left = np.minimum(place.astype(np.int64), max(0, len(knots) - 2))
    return left, place - left


def _fading(knots: tuple[int, ...], horizon: int) -> Array:
    """(n, H) the weight at each lead of what is carried at the first two knots; none beyond twice the second."""
    lead = np.arange(1, horizon + 1)
    if len(knots) == 1:
        return np.ones((1, horizon))
    return np.stack([
        np.interp(lead, knots[:2], [1.0, 0.0]), np.interp(lead, [1, knots[1], 2 * knots[1]], [0.0, 1.0, 0.0])
    ])  # fmt: skip


def _spread(values: Array, between: tuple[Ints, Array]) -> Array:
    """(B, K, T) at knots -> (B, H, T)."""
    left, share = between
    right = np.minimum(left + 1, values.shape[1] - 1)
    return values[:, left] + share[:, None] * (values[:, right] - values[:, left])
