"""A streamed forecast that corrects itself: what came is compared with what was forecast for it, series by series.

The model stays frozen. Beside its state each series has a row of `width` float32 of its own, whatever the length of the
stream: forecasts that wait for their truth, at a few leads ("knots"; the others lie between them), and what was learned.

For each knot h, with e the error of the forecast made h steps before, exponentially weighted means learn (β_h) its bias,
(s) its profile over the season, and (u) what is left of the last one-step error. Each is applied by a gain

    g = E[r x] / (E[x²] + RIDGE · E[e²]),  within [0, 1],

where x is what would have been added then and r the error that was left for it; so what does not persist is not applied,
and the corrected forecast tends to the frozen one. The distances of the interval's ends from the median are stretched by
r, learned at each outcome from whether it lay outside the end that was issued (Gibbs & Candès 2021, arXiv 2106.00170;
quantile tracking: Angelopoulos, Candès & Tibshirani 2023, arXiv 2307.16895):

    r <- r · exp(rate · ([outside] - 0.05))

so that the share outside tends to 5 % on each side whatever comes, as long as r is within its bounds. The threshold of
alarms is learned likewise. Nothing is learned from a value before it is known. Only operations that are the same for
each element wherever it stands are used (no matrix products): a row's numbers do not depend on the rows beside it.

Shapes: B rows, H steps, T targets, K knots. All values are scaled.
"""

from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints

Rows = NDArray[np.float32]
Array = NDArray[np.float64]

OUTSIDE: Final = 0.05  # the share beyond each end of an interval
END: Final = NormalDist().inv_cdf(1 - OUTSIDE)  # the normal score of an end
LARGEST: Final = 1e15  # as in data/batch.py: no error counts as more
FARTHEST: Final = 1e6  # a normal score, and the threshold of alarms
HALF: Final = 1 << 20  # a step is kept as two numbers, so that float32 holds it
POINT, LOW, HIGH, LAST = range(4)  # what a slot holds: the raw point, the issued ends, u when it was issued


class Rates(NamedTuple):
    """How fast what is learned; chosen on validation parts (`python -m benchmarks correct`)."""

    bias: float = 0.01  # of β, once there are many values
    profile: float = 0.15  # of s, once a season
    moment: float = 0.005  # of the moments that gains are made of
    ridge: float = 0.02
    clip: float = 4.0  # usual errors: what came counts as no more
    stretch: float = 0.05  # of r
    jump: float = 6.0  # usual errors, beyond which two errors in a row on one side are a new level
    turmoil: float = 0.05  # of the size of errors of late
    calm: float = 1.0
    lindy: float = 0.5
    skip: float = 1e9
    ref: float = 1/4000
    own: float = 1
    least: float = 1 / 16  # bounds of r
    most: float = 64.0
    alarm: float = 0.25  # of the threshold


class Field(NamedTuple):
    """A part of a row."""

    first: int
    shape: tuple[int, ...]
    empty: float  # at the start

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


def knots_for(horizon: int) -> tuple[int, ...]:
    """The leads that are followed."""
    return tuple(sorted({1, max(1, round(horizon / 8)), horizon}))


class Corrector:
    """The learning of all series; it holds no state itself. Before each step of a series the forecast that was issued
    is in its row:

        p, alarm = corrector.anomaly(rows, step, truth)
        rows = corrector.see(rows, step, truth)           truth (B, T), NaN where nothing was observed
        shift, (low, high) = corrector.shift(rows), corrector.stretch(rows)
        rows = corrector.issue(rows, step, point, ends_low, ends_high)

    `step` (B,) counts the steps of each series. Steps may be left out, and so may `issue`: then nothing is learned from
    the forecasts that were not made. A step that is not later than the last empties the rings.
    """

    def __init__(
        self, horizon: int, targets: int, *, season: int = 1, budget: float = 1e-3, rates: Rates = Rates()
    ) -> None:
        """`season`: steps of a profile of errors, 1: none; `budget`: the share of values that may raise an alarm."""
        self.horizon, self.targets, self.season, self.budget, self.rates = horizon, targets, season, budget, rates
        self.knots = knots_for(horizon)
        self.fields: dict[str, Field] = {}
        self.width = 0
        k, t = len(self.knots), targets
        self._add("step", (2,), -1.0)
        self._add("count", (t,), 0.0)
        self._add("size", (k, t), 0.0)  # E[e²]
        self._add("bias", (k, t), 0.0)
        self._add("past", (k - 1, 2, t), 0.0)  # the bias of knots after the first as it was, two times
        self._add("applied", (k, 2, t), 0.0)  # E[r x], E[x²] of the bias
        self._add("last", (2, t), np.nan)
        self._add("ref", (k, t), 0.0)
        self._add("turmoil", (t,), 1.0)
        self._add("carried", (min(k, 2), 2, t), 0.0)  # the same of the last error
        self._add("profile", (season if season > 1 else 0, t), 0.0)
        self._add("seasonal", (2 if season > 1 else 0, t), 0.0)  # the same of the profile
        self._add("stretch", (k, 2, t), 1.0)
        self.nominal = NormalDist().inv_cdf(1 - budget / 2)
        self._add("threshold", (t,), self.nominal)
        for i, knot in enumerate(self.knots):
            self._add(f"ring{i}", (knot, 4 if i == 1 else 3, t), np.nan)
        self.between = _between(self.knots, horizon)
        self.fading = _fading(self.knots, horizon)
        self.out = np.exp(rates.stretch * (1 - OUTSIDE)), np.exp(-rates.stretch * OUTSIDE)
        self.raised = np.exp(rates.alarm * (1 - budget)), np.exp(-rates.alarm * budget)

    def start(self, n: int) -> Rows:
        """(n, width) rows of series before their first step."""
        row = np.empty(self.width, np.float32)
        for field in self.fields.values():
            row[field.first : field.first + field.size] = field.empty
        return np.tile(row, (n, 1))

    def see(self, rows: Rows, step: Ints, truth: NDArray[Any]) -> Rows:
        """New rows after truths (B, T) of `step` (B,)."""
        rows = np.array(rows, np.float32)
        y = _sound(truth)
        self._alarmed(rows, step, y)
        self._move(rows, step)
        slots = self._taken(rows, step)
        error = np.stack([_sound(y - slot[:, POINT]) for slot in slots], 1)  # (B, K, T)
        self._learned(rows, step, error, slots[1][:, LAST] if len(slots) > 1 else None)
        self._stretched(rows, y, slots)
        return rows

    def issue(
        self, rows: Rows, step: Ints, point: NDArray[Any], low: NDArray[Any] | None, high: NDArray[Any] | None
    ) -> Rows:
        """New rows with the forecast that was made after `step`: raw points (B, H, T), the 5 and 95 % ends (B, H, T)
        as they were issued, None or NaN where there are none."""
        rows = np.array(rows, np.float32)
        self._move(rows, step)
        at = np.arange(len(rows))
        last = self._carry(rows, self._jump(rows))
        for i, knot in enumerate(self.knots):
            slot = self._of(rows, f"ring{i}")
            for part, values in ((POINT, point), (LOW, low), (HIGH, high)):
                slot[at, step % knot, part] = np.nan if values is None else _sound(values[:, knot - 1])
            if i == 1:
                slot[at, step % knot, LAST] = last
        return rows

    def shift(self, rows: Rows) -> Array:
        """(B, H, T): what is to be added to every point and quantile."""
        bias = self._gain(rows, "applied", self._get(rows, "size")) * self._get(rows, "bias")
        jump = self._jump(rows)
        carried = self._gain(rows, "carried", self._get(rows, "size")[:, :2]) * np.nan_to_num(
            self._get(rows, "last")[:, None, 0] * (jump[:, None] == 0)
        )
        found = _spread(bias, self.between) + _weighted(carried, self.fading) + jump[:, None] * self._lindy(rows, np.arange(1, self.horizon + 1)[:, None])
        if self.season > 1:
            lead = self._step(rows)[:, None] + np.arange(1, self.horizon + 1)
            profile = self._get(rows, "profile")[np.arange(len(rows))[:, None], lead % self.season]
            found += self._seasonal_gain(rows)[:, None] * profile
        return found

    def stretch(self, rows: Rows) -> tuple[Array, Array]:
        """(B, H, T) each: what the distance between the median and a quantile below it, and above it, is multiplied
        with."""
        each = self._get(rows, "stretch") * np.sqrt((self._get(rows, "turmoil") + self.rates.calm) / (1 + self.rates.calm))[:, None, None]
        size, ref = self._get(rows, "size"), self._get(rows, "ref")
        if not self.rates.own:
            size, ref = size[:, :1], ref[:, :1]
        each = each * np.sqrt(np.clip(np.where(ref > 0, size / np.where(ref > 0, ref, 1), 1), .01, 100))[:, :, None]
        return _spread(each[:, :, 0], self.between), _spread(each[:, :, 1], self.between)

    def anomaly(self, rows: Rows, step: Ints, truth: NDArray[Any]) -> tuple[Array, NDArray[np.bool_]]:
        """Rows before `see`, step (B,) and truths (B, T) -> the probability (B, T) of a value as far out, on either
        side, under the one-step forecast that was issued, NaN where unknown, and which are alarms."""
        from scipy.special import ndtr  # here: no other push pays for its import

        far = self._far(rows, step, _sound(truth))
        with np.errstate(invalid="ignore"):
            return 2 * ndtr(-far), far > self._get(rows, "threshold")

    # Parts of rows -------------------------------------------------------------------------------------------

    def _add(self, name: str, shape: tuple[int, ...], empty: float) -> None:
        self.fields[name] = Field(self.width, shape, empty)
        self.width += self.fields[name].size

    def _of(self, rows: Rows, name: str) -> Rows:
        """A view (B, *shape) of a field."""
        field = self.fields[name]
        return rows[:, field.first : field.first + field.size].reshape(len(rows), *field.shape)

    def _get(self, rows: Rows, name: str) -> Array:
        return self._of(rows, name).astype(np.float64)

    def _step(self, rows: Rows) -> Ints:
        """(B,) the last step; negative before the first."""
        high, low = self._of(rows, "step").T.astype(np.int64)
        return np.where(low < 0, -1, high * HALF + low)

    def _gain(self, rows: Rows, name: str, size: Array) -> Array:
        moment = self._get(rows, name)
        return _ratio(moment[:, :, 0], moment[:, :, 1] + self.rates.ridge * size)

    def _jump(self, rows: Rows) -> Array:
        last = self._get(rows, "last")
        x, n = last[:, 0], np.abs(last[:, 1])
        x2, lim = x * x, self.rates.jump**2 * self._get(rows, "size")[:, 0]
        return np.where((n >= 2) & (x2 > lim), x * (1 - lim / np.where(x2 > lim, x2, 1.0)), 0.0)

    def _lindy(self, rows, lead):
        n = np.nan_to_num(np.abs(self._get(rows, "last")[:, 1]))[:, None]
        return (n / (n + lead))[..., ] ** self.rates.lindy

    def _carry(self, rows: Rows, jump: Array) -> Array:
        return np.where(jump == 0, self._get(rows, "last")[:, 0], np.nan)

    def _seasonal_gain(self, rows: Rows) -> Array:
        """(B, T)"""
        moment = self._get(rows, "seasonal")
        return _ratio(moment[:, 0], moment[:, 1] + self.rates.ridge * self._get(rows, "size")[:, 0])

    # The turn of a step --------------------------------------------------------------------------------------

    def _move(self, rows: Rows, step: Ints) -> None:
        """To `step`: slots of the steps between are emptied, the biases as they were move on."""
        known, last = self._of(rows, "step")[:, 1] >= 0, self._step(rows)
        skipped = np.where(~known | (step < last), np.iinfo(np.int64).max, step - last - 1)
        for i, knot in enumerate(self.knots):
            stale = skipped > 0
            if stale.any():  # a slot is stale if a step that was skipped would have read it
                back = (step[:, None] - 1 - np.arange(knot)) % knot
                self._of(rows, f"ring{i}")[back < skipped[:, None]] = np.nan
            if i:
                past = self._of(rows, "past")[:, i - 1]
                turn = known & (step // knot != last // knot)
                past[turn] = np.stack([self._of(rows, "bias")[turn, i], past[turn, 0]], 1)
        self._of(rows, "last")[skipped > 0] = np.nan
        self._of(rows, "step")[:] = np.stack([step // HALF, step % HALF], 1)

    def _taken(self, rows: Rows, step: Ints) -> list[Array]:
        """What was forecast for this step at each knot, (B, 3 or 4, T); its slot is empty then."""
        at, taken = np.arange(len(rows)), []
        for i, knot in enumerate(self.knots):
            ring = self._of(rows, f"ring{i}")
            taken.append(ring[at, step % knot].astype(np.float64))
            ring[at, step % knot] = np.nan
        return taken

    def _stretched(self, rows: Rows, y: Array, slots: list[Array]) -> None:
        stretch = self._of(rows, "stretch")
        up, down = self.out
        run = np.abs(np.nan_to_num(self._get(rows, "last")[:, 1]))
        for i, slot in enumerate(slots):
            old = (run >= self.rates.skip) & (self.knots[i] >= run)
            for side, outside in enumerate((y < slot[:, LOW], y > slot[:, HIGH])):
                known = ~old & ~np.isnan(y) & ~np.isnan(slot[:, LOW + side])
                moved = stretch[:, i, side] * np.where(outside, up, down)
                moved = np.clip(moved, self.rates.least, self.rates.most)
                stretch[:, i, side] = np.where(known, moved, stretch[:, i, side])

    def _learned(self, rows: Rows, step: Ints, error: Array, before: Array | None) -> None:
        """error (B, K, T) of this step, NaN where unknown; before (B, T): u when the second knot was issued."""
        rates, known = self.rates, ~np.isnan(error)
        count, size, bias = self._of(rows, "count"), self._get(rows, "size"), self._get(rows, "bias")
        warm = 1 / (1 + count.astype(np.float64))[:, None]
        count += known.any(1) * (count < HALF)
        raw, jump = error, self._jump(rows)
        limit = np.where(size > 0, rates.clip * np.sqrt(size), LARGEST)
        error = np.clip(error, -limit, limit)
        gain = self._gain(rows, "applied", size)
        held = np.concatenate([bias[:, :1], self._get(rows, "past")[:, :, 1]], 1)  # the bias when it was issued
        self._moments(rows, "applied", error, held)
        left = error - gain * held
        if self.season > 1:
            left = self._seasoned(rows, step, left, error - bias)
        last = self._get(rows, "last")[:, 0]
        carried = [(left[:, 0], self._carry(rows, jump))]
        full = left + raw - error  # not clipped
        wgain = self._gain(rows, "carried", size[:, :2])[:, 0]
        made = full[:, 0] - jump * self._lindy(rows, np.ones((1, 1)))[:, 0] - wgain * np.nan_to_num(last) * (jump == 0)
        s = np.minimum(made**2 / np.where(size[:, 0] > 0, size[:, 0], 1.0), 1e4)
        turmoil = self._of(rows, "turmoil")
        ok = ~np.isnan(s) & (size[:, 0] > 0)
        turmoil[:] = np.where(ok, turmoil + rates.turmoil * (s - turmoil), turmoil)
        if before is not None:
            carried.append((left[:, 1], before))
        self._moments(rows, "carried", *(np.stack(part, 1) for part in zip(*carried, strict=True)))
        run = self._get(rows, "last")[:, 1]
        x = full[:, 0]
        far = x * x > rates.jump**2 * size[:, 0]
        side = np.where(far & (size[:, 0] > 0), np.sign(x), 0.0)
        self._of(rows, "last")[:, 1] = np.where(side * np.nan_to_num(run) > 0, run + side, side)
        self._of(rows, "last")[:, 0] = x
        grown = np.where(size > 0, size + np.maximum(rates.moment, warm) * (error**2 - size), error**2)
        self._of(rows, "size")[:] = np.where(known, grown, size)
        ref = self._get(rows, "ref")
        self._of(rows, "ref")[:] = np.where(known, ref + np.maximum(rates.ref, warm) * (error**2 - ref), ref)
        drawn = bias + np.maximum(rates.bias, warm) * (error - bias)
        self._of(rows, "bias")[:] = np.where(known, drawn, bias)

    def _moments(self, rows: Rows, name: str, left: Array, x: Array) -> None:
        """left, x (B, n, T) into E[r x], E[x²] (B, n, 2, T)."""
        moment = self._of(rows, name)
        new = np.stack([left * x, x * x], 2)
        new = moment + self.rates.moment * (new - moment)
        moment[:] = np.where((np.isnan(left) | np.isnan(x))[:, :, None], moment, new)

    def _seasoned(self, rows: Rows, step: Ints, left: Array, error: Array) -> Array:
        """What the profile leaves of `left` (B, K, T); it learns from knots within a season."""
        at, few = np.arange(len(rows)), sum(knot <= self.season for knot in self.knots)
        profile, moment = self._of(rows, "profile"), self._of(rows, "seasonal")
        x, gain = profile[at, step % self.season].astype(np.float64), self._seasonal_gain(rows)
        r, e = _mean(left[:, :few]), _mean(error[:, :few])
        new = moment + self.rates.moment * (np.stack([r * x, x * x], 1) - moment)
        moment[:] = np.where(np.isnan(r)[:, None], moment, new)
        profile[at, step % self.season] = np.where(np.isnan(e), x, x + self.rates.profile * (e - x))
        return left - (gain * x)[:, None]

    # Alarms --------------------------------------------------------------------------------------------------

    def _far(self, rows: Rows, step: Ints, y: Array) -> Array:
        """(B, T) the normal score, from 0, of what came under the one-step forecast; NaN where unknown."""
        slot = self._get(rows, "ring0")[:, 0]
        low, high = slot[:, LOW], slot[:, HIGH]
        middle = np.clip(slot[:, POINT] + self.shift(rows)[:, 0], low, high)
        above = y >= middle
        away, span = np.abs(y - middle), np.where(above, high - middle, middle - low)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            far = np.where(away > 0, np.minimum(END * away / span, FARTHEST), away)
        return np.where((step == self._step(rows) + 1)[:, None], far, np.nan)

    def _alarmed(self, rows: Rows, step: Ints, y: Array) -> None:
        far, threshold = self._far(rows, step, y), self._of(rows, "threshold")
        up, down = self.raised
        moved = np.clip(threshold * np.where(far > threshold, up, down), self.nominal, FARTHEST)
        threshold[:] = np.where(np.isnan(far), threshold, moved)


def _sound(values: NDArray[Any]) -> Array:
    """float64 within ±LARGEST; NaN stays."""
    return np.clip(np.asarray(values, np.float64), -LARGEST, LARGEST)


def _ratio(a: Array, b: Array) -> Array:
    return np.clip(np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0), 0.0, 1.0)


def _mean(values: Array) -> Array:
    """(B, n, T) -> (B, T) the mean of what is known, NaN where nothing is."""
    total, count = np.zeros_like(values[:, 0]), np.zeros_like(values[:, 0])
    for i in range(values.shape[1]):
        known = ~np.isnan(values[:, i])
        total += np.where(known, values[:, i], 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _between(knots: tuple[int, ...], horizon: int) -> tuple[Ints, Array]:
    """For each lead the knot at its left and the share of the way to the next, even in the logarithm of the lead."""
    lead = np.log(np.arange(1, horizon + 1))
    place = np.interp(lead, np.log(knots), np.arange(len(knots)))
    left = np.minimum(place.astype(np.int64), max(0, len(knots) - 2))
    return left, place - left


def _fading(knots: tuple[int, ...], horizon: int) -> Array:
    """(n, H) the weight at each lead of what is carried at the first two knots; none beyond twice the second."""
    lead = np.arange(1, horizon + 1)
    if len(knots) == 1:
        return np.ones((1, horizon))
    first = np.interp(lead, knots[:2], [1.0, 0.0])
    second = np.interp(lead, [1, knots[1], 2 * knots[1]], [0.0, 1.0, 0.0])
    return np.stack([first, second])


def _spread(values: Array, between: tuple[Ints, Array]) -> Array:
    """(B, K, T) at knots -> (B, H, T)."""
    left, share = between
    right = np.minimum(left + 1, values.shape[1] - 1)
    return values[:, left] + share[:, None] * (values[:, right] - values[:, left])


def _weighted(values: Array, weight: Array) -> Array:
    """(B, n, T), (n, H) -> (B, H, T)."""
    found = values[:, :1] * weight[0][:, None]
    for i in range(1, len(weight)):
        found = found + values[:, i : i + 1] * weight[i][:, None]
    return found
