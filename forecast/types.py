"""What data and models both know: the facts of a problem, and a batch of it.

Shapes: B windows, L context steps, H horizon steps, C input channels (the T targets first), F calendar fields,
K covariates that are known ahead, P that are known only as they come, Q facts of a series.
"""

from math import inf
from typing import NamedTuple

from torch import Tensor

# Calendar fields a clock may carry, coarse to fine, with the number of values each takes (0 … size - 1).
CLOCK_SIZES = {
    "month": 12,  # January is 0
    "week": 53,  # ISO week - 1
    "yearday": 366,
    "day": 31,  # of the month
    "weekday": 7,  # Monday is 0
    "hour": 24,
    "minute": 60,
    "second": 60,
    "holiday": 2,  # 1 on a day off
    "holiday_in": 8,  # days to the next one, 7: a week or more
    "holiday_ago": 8,  # days since the last one
}


class Spec(NamedTuple):
    """The facts of a forecasting problem, made by the data module and handed forward."""

    channels: tuple[str, ...]  # names of the C input channels, targets first
    targets: int  # T: how many of them are forecast
    units: tuple[str, ...]  # one per channel, "" where unknown
    clock: tuple[str, ...]  # names of the F calendar fields in a batch
    context: int  # L
    horizon: int  # H
    freq: str  # pandas alias of one step, e.g. "h", "15min", "MS"
    season: int  # steps in one season, 1 where there is none
    known: tuple[str, ...] = ()  # K covariates that are known ahead
    behind: tuple[str, ...] = ()  # P more that are no channels and are seen in the past only
    static: tuple[str, ...] = ()  # Q facts of a series
    sizes: tuple[int, ...] = ()  # (K + P + Q) codes of a category, the unknown one (0) among them; 0 for a number
    masks: bool = False  # covariates may be missing, and batches say which


class SeriesBatch(NamedTuple):
    """Windows of regular series; values are scaled, 0 where nothing was observed."""

    past: Tensor  # (B, L, C) float32
    past_mask: Tensor  # (B, L, C) bool, True where observed
    past_clock: Tensor  # (B, L, F) float32, calendar fields as counts (see CLOCK_SIZES)
    future: Tensor  # (B, H, T) float32, the targets
    future_mask: Tensor  # (B, H, T) bool
    future_clock: Tensor  # (B, H, F) float32
    origin: Tensor  # (B,) int64, row of the first target step
    series: Tensor  # (B,) int64, number of the series
    # Covariates as they were known at the cutoff: scaled numbers and codes, 0 where missing. None where there are none.
    # With spec.masks their last axis is twice as long: behind the values stands 1 where one was known.
    known_past: Tensor | None = None  # (B, L, K + P) float32
    known_future: Tensor | None = None  # (B, H, K) float32
    static: Tensor | None = None  # (B, Q) float32
    weight: Tensor | None = None  # (B,) float32, of each window in the loss; None: all weigh the same


class EventSpec(NamedTuple):
    """The facts of a problem of events, made by the data module and handed forward."""

    marks: tuple[str, ...]  # M names in the order of their codes; one name where events are not told apart
    unit: str  # of gaps: day, hour, …
    grid: float  # the step of the recording clock in that unit; 0: none
    floor: float  # the least gap that is looked at or scored, in that unit; 0 where there is a grid
    log_mean: float  # of train's log gaps
    log_std: float
    extra: tuple[str, ...] = ()  # E numbers that are known of each event, in the order of EventBatch.extra
    labels: bool = False  # an event has any number of the marks at once
    most: float = inf  # the longest gap of train
    longest: int = 2048  # events that a model sees at once
    levels: tuple[float, ...] = ()  # n quantiles of train's normalised log gaps, at (i + ½) / n; none: as if normal


class EventBatch(NamedTuple):
    """Sequences of events, padded behind their last one: B sequences, L events, M marks.

    What is padded has the gap 0, the mark 0 and a mask of False. Event i is forecast from those before it, so a first
    event is never a target; of a target whose mark is M, which no training had, only the time is scored.
    """

    gaps: Tensor  # (B, L) float32, time since the event before, floored; 0 for the first event
    marks: Tensor  # (B, L) int64, 0 … M-1, and M for a mark that training did not have; or (B, L, M) bool labels
    mask: Tensor  # (B, L) bool, True where there is an event
    target: Tensor  # (B, L) bool, True where the event is scored
    last: Tensor  # (B,) float32, time without an event from the last one to the end of the watch; 0: nothing known
    length: Tensor  # (B,) int64, events of each sequence, at least 1
    sequence: Tensor  # (B,) int64, number of the sequence
    extra: Tensor | None = None  # (B, L, E) float32, what else is known of each event, scaled; None where E is 0


class LabelSpec(NamedTuple):
    """The facts of a problem of classification, made by the data module and handed forward."""

    channels: tuple[str, ...]  # C names
    units: tuple[str, ...]  # one per channel, "" where unknown
    classes: tuple[str, ...]  # K names in the order of their codes
    longest: int  # steps of the longest series of train
    shortest: int  # of the shortest
    missing: bool = False  # whether values may be missing within a series


class LabelBatch(NamedTuple):
    """Labelled series, padded behind their last step: B series, L steps, C channels."""

    values: Tensor  # (B, L, C) float32, scaled, 0 where nothing was observed
    mask: Tensor  # (B, L, C) bool, True where observed
    length: Tensor  # (B,) int64, steps of each series, at least 1
    label: Tensor  # (B,) int64, 0 … K-1; -1 where it is not known
    series: Tensor  # (B,) int64, number of the series in its part


class Context(NamedTuple):
    """What a head may know beside the encoder's memory."""

    past: Tensor  # (B, L, C), normalised as the encoder's input was
    past_mask: Tensor | None  # (B, L, C) bool, None where nothing can be missing
    past_clock: Tensor  # (B, L, F)
    future_clock: Tensor  # (B, H, F)
    memory_mask: Tensor | None  # (B, L') bool, which tokens of the memory saw something observed
    known_past: Tensor | None = None  # as in the batch
    known_future: Tensor | None = None
