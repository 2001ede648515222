"""Single series of the test part of a classification run: which were mistaken, and how likely each class was."""

from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.charts.chart import Axis, Bars, Chart, Mark, Panel, Points
from forecast.dashboards.events.marks import brief
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent
from forecast.errors import ArtifactError

TOP: Final = 15  # classes of one series
NEEDED: Final = ("unique_id", "label", "guess", "p", "p_label", "steps")


class Sample(NamedTuple):
    """A series, its class and the guess, the probabilities of both, and its number of steps."""

    id: str
    label: str
    guess: str
    p: float
    p_label: float
    steps: int


def samples(run: Run, label: str = "", guess: str = "", *, wrong: bool = True, find: str = "") -> pl.DataFrame:
    """The test series with the columns of `Sample`, those of which the model was surest first: of one class, taken for
    one, with a part of a name where these are given; `wrong`: only those that were mistaken. ArtifactError for another
    table."""
    frame = _scan(run)
    if frame is None:
        return pl.DataFrame(schema=dict.fromkeys(NEEDED, pl.String))
    kept = frame.select(NEEDED).with_columns(pl.col("unique_id", "label", "guess").cast(pl.String))
    if wrong:
        kept = kept.filter(pl.col("label") != pl.col("guess"))
    for column, value in (("label", label), ("guess", guess)):
        if value:
            kept = kept.filter(pl.col(column) == value)
    if find:
        kept = kept.filter(pl.col("unique_id").str.to_lowercase().str.contains(find.lower(), literal=True))
    return _collected(kept.sort("p", descending=True, maintain_order=True))


def chances(run: Run, id: str) -> Chart | None:
    """How likely each class was for one test series, the likeliest first; None where there is no such series."""
    frame = _scan(run)
    if frame is None:
        return None
    row = _collected(frame.filter(pl.col("unique_id").cast(pl.String) == id).head(1))
    if not row.height:
        return None
    label, guess = str(row["label"][0]), str(row["guess"][0])
    held = {
        name.removeprefix("p_"): float(row[name][0])
        for name in row.columns if name.startswith("p_") and name not in NEEDED and row[name][0] is not None
    }  # fmt: skip
    order = sorted(held, key=lambda name: -held[name])
    shown = order[:TOP] if label in order[:TOP] or label not in held else [*order[: TOP - 1], label]
    names = brief([f"{name} (its class)" if name == label else name for name in shown], 28)
    values = [held[name] for name in shown]
    place = list(range(len(shown)))
    told = [k for k, name in enumerate(shown) if name == label]
    marks: list[Mark] = [Bars(values, place, "probability", across=True, opacity=0.75)]
    if told:
        marks.append(Points([values[k] for k in told], told, "its class", "seasonal", "diamond", 7))
    left = sum(held.values()) - sum(values)
    words = f"{id} is of class {label} and was taken for {guess}. How likely each class was to the model"
    words += f"; {len(held) - len(shown):,d} others have {percent(left)} together." if len(held) > len(shown) else "."
    alt = words + "".join(f" {name}: {percent(value)}." for name, value in zip(shown, values, strict=True))
    down = Axis("", ticks=tuple((float(k), name) for k, name in enumerate(names)), range=(-0.6, len(names) - 0.4),
                down=True)  # fmt: skip
    across = Axis("probability", percent=True, range=(0, 1))
    panel = Panel(tuple(marks), across, down, height=max(1.4, 0.27 * len(names) + 0.7))
    return Chart("chances", "How likely each class was", words, alt, (panel,), half=True)


def _scan(run: Run) -> pl.LazyFrame | None:
    if run.predictions is None:
        return None
    frame = pl.scan_parquet(run.predictions)
    try:
        there = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise _unread(fault) from fault
    if lost := [name for name in NEEDED if name not in there]:
        raise ArtifactError(
            f"predictions.parquet has no column {lost[0]}", f"expected {', '.join(NEEDED)}", "run it again"
        )
    return frame


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise _unread(fault) from fault


def _unread(fault: Exception) -> ArtifactError:
    reason = str(fault).splitlines()[0]
    return ArtifactError(f"predictions.parquet cannot be read ({reason})", "a parquet file", "run it again")
