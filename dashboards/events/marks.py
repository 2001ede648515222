"""Figures of marks: which is guessed for which, and how often each is guessed rightly."""

from collections.abc import Sequence
from os.path import commonprefix

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Bars, Cells, Chart, Panel, Points
from forecast.dashboards.charts.style import short
from forecast.dashboards.events.summary import EventSummary
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

TALLEST = 12  # marks in the figure of accuracies
LETTERS = 16  # of a mark's name in a figure


def confusion(run: Run, summary: EventSummary) -> Chart | None:
    """Which mark was guessed for which, in percent of those that came: the ten most frequent, and all others."""
    names, table = _named(summary)
    if len(names) < 2:
        return None
    total = table.sum(1, keepdims=True)
    share = table / np.maximum(total, 1)
    off = share.copy()
    np.fill_diagonal(off, 0)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    words = (
        "Of the events of each mark (row), the percentage for which each mark was guessed (column): blue where that "
        f"is right, orange where it is wrong. Most often mistaken: {names[worst[0]]} for {names[worst[1]]}, "
        f"{percent(float(off[worst]))}."
    )
    alt = words + "".join(f" {name}: {percent(float(share[k, k]))} right." for k, name in enumerate(names))
    told = brief(names)
    written = [[f"{v * 100:.0f}" if n else "–" for v in row] for row, n in zip(share, total[:, 0], strict=True)]
    side = np.where(share < 0.005, 0, share) * (2 * np.eye(len(names)) - 1)  # what is written as 0 has no shade
    shades = Cells(told, told, side, "", diverging=True, low=-1, high=1, words=written)
    panel = Panel((shades,), Axis("guessed (%)", "category"), Axis("came", "category", down=True),
                  height=max(2.6, 0.27 * len(names) + 0.7))  # fmt: skip
    return Chart("confusion", "Which marks are confused", words, alt, (panel,), half=True)


def _named(summary: EventSummary) -> tuple[list[str], np.ndarray]:
    """The marks of the table of confusion and their counts, without a row of others where there are none."""
    names, table = summary.marks["mark"].head(len(summary.confusion) - 1).to_list(), summary.confusion
    if table[-1].any() or table[:, -1].any():
        return [*names, "all others"], table
    return names, table[:-1, :-1]


def accuracies(run: Run, summary: EventSummary) -> Chart | None:
    """Of each mark, the share that was guessed and the share of its guesses that came."""
    came = summary.marks.filter(pl.col("came") > 0)
    frame = came.head(TALLEST)
    if summary.marks.height < 2 or not frame.height:
        return None
    recall, precision = rates(frame)
    more = came.height - frame.height
    words = "By mark, the most frequent first: how many of those that came were guessed, how many of the guesses came."
    words += " Beside each mark stands its share of the events."
    words += f" {more:,d} rarer marks are left out." if more else ""
    alt = words + "".join(f" {name}: {percent(float(r))} of {n:,d}." for name, r, n in
                          zip(frame["mark"], recall, frame["came"], strict=True))  # fmt: skip
    total = int(summary.marks["came"].sum())
    labels = [f"{name}  {100 * n / total:.0f}\u00a0%" for name, n in
              zip(brief(frame["mark"].to_list()), frame["came"], strict=True)]  # fmt: skip
    return Chart("accuracies", "Right by mark", words, alt, (right(labels, recall, precision),), half=True)


def rates(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of rows of `EventSummary.marks`: the share that was guessed of those that came, and the share that came of the
    guesses, NaN where there are none."""
    came, guessed, right = (frame[name].cast(pl.Float64).to_numpy() for name in ("came", "guessed", "right"))
    none = np.full(len(came), np.nan)
    return (np.divide(right, came, out=none.copy(), where=came > 0),
            np.divide(right, guessed, out=none.copy(), where=guessed > 0))  # fmt: skip


def right(labels: Sequence[str], recall: np.ndarray, precision: np.ndarray, first: str = "of those that came") -> Panel:
    """A row for each label: of those that came the share that was told, of the guesses the share that came."""
    place = np.arange(len(labels))
    marks = (
        Bars(recall, place, across=True, opacity=0.3),
        Points(recall, place, first, symbol="tick", size=11),
        Points(precision, place, "of the guesses", role="seasonal", symbol="diamond", size=4.5, hollow=True),
    )
    across = Axis("share that is right", percent=True, range=(0, 1))
    down = Axis("", ticks=tuple(enumerate(labels)), range=(-0.6, len(labels) - 0.4), down=True)
    return Panel(marks, across, down, height=max(2.6, 0.27 * len(labels) + 0.7))


def brief(names: Sequence[str], most: int = LETTERS) -> list[str]:
    """Names of at most so many letters, each still another: those that are cut alike show where they differ, and what
    is then still alike is numbered."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(short(name, most), []).append(name)
    apart = {name: cut for group in groups.values() if len(group) > 1 for name, cut in _apart(group).items()}
    found: dict[str, None] = {}
    for name in names:
        told = apart.get(name, name)
        cut, k = short(told, most), 2
        while cut in found:
            cut, k = f"{short(told, most - 3)}·{k}", k + 1
        found[cut] = None
    return list(found)


def _apart(names: Sequence[str]) -> dict[str, str]:
    """Each name without the words that all of them begin and end with."""
    first = commonprefix(names)
    start = first.rfind(" ") + 1 or len(first)
    last = commonprefix([name[start:][::-1] for name in names])
    end = last.rfind(" ") + 1 or len(last)
    return {name: f"{'…' * (start > 0)}{name[start : len(name) - end]}{'…' * (end > 0)}" for name in names}
