"""Which class is taken for which: a table of shades and counts that stays readable from two classes to hundreds."""

from typing import Final, Literal

import numpy as np

from forecast.dashboards.charts.chart import Axis, Cells, Chart, Panel
from forecast.dashboards.classes.scores import confused, pairs
from forecast.dashboards.events.marks import brief, right
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

SMALL: Final = 10  # classes that half a page has room for
WHOLE: Final = 60  # classes of which all are in the table
WORST: Final = 40  # of more of them: those with the most mistakes, beside all others
OTHERS: Final = "all others"
LETTERS: Final = 18  # of a name
Share = Literal["row", "column"]
ABOUT: Final = {
    "row": "the darker, the larger the share of the row",
    "column": "the darker, the larger the share of the column: of the guesses, how many are of which class",
}


def confusion(run: Run, share: Share = "row", *, written: bool = False) -> Chart | None:
    """The counts of the test series by class (row) and guess (column), shaded by their `share` of the row or column,
    which is written in place of the counts if wanted."""
    found = confused(run)
    if found is None or len(found[0]) < 2 or not found[1].any():
        return None
    names, table = found
    words = _words(names, table, share, written)
    told = np.diag(table) / np.maximum(table.sum(1), 1)
    alt = words + "".join(f" {name}: {percent(float(part))} right." for name, part, n in
                          zip(names, told, table.sum(1), strict=True) if n)  # fmt: skip
    half, (names, table) = len(names) <= SMALL, worst(names, table)
    names = brief(names, LETTERS)
    part = table / np.maximum(table.sum(1, keepdims=True) if share == "row" else table.sum(0, keepdims=True), 1)
    side = part * (2 * np.eye(len(names)) - 1)
    said = [[_cell(int(n), float(p), written) for n, p in zip(*row, strict=True)]
            for row in zip(table, part, strict=True)]  # fmt: skip
    shades = Cells(names, names, side, "", diverging=True, low=-1, high=1, words=said)
    unit = "" if not written else " (% of the class)" if share == "row" else " (% of the guesses)"
    panel = Panel(
        (shades,), Axis(f"taken for{unit}", "category"), Axis("class", "category", down=True), height=_tall(names, half)
    )
    return Chart("confusion", "Which classes are confused", words, alt, (panel,), half=half)


def _words(names: list[str], table: np.ndarray, share: Share, written: bool) -> str:
    """What one sees, with the result and the most frequent mistake."""
    words = f"Of {int(table.sum()):,d} test series, {int(np.trace(table)):,d} are told rightly. A row is a class, a "
    words += f"column what its series were taken for, blue where that is right, orange where not; {ABOUT[share]}."
    for a, b, n in pairs(table)[:1]:
        words += f" Most often mistaken: {names[a]} for {names[b]}, {n:,d} of {int(table[a].sum()):,d}."
    if len(names) > WHOLE:
        words += f" Of {len(names):,d} classes the {WORST} with the most mistakes are drawn, the rest as one."
    return words


def worst(names: list[str], table: np.ndarray) -> tuple[list[str], np.ndarray]:
    """All classes, or of very many those with the most mistakes, in their order, and the others as one."""
    if len(names) <= WHOLE:
        return names, table
    off = table.sum(1) + table.sum(0) - 2 * np.diag(table)
    kept = np.sort(np.argsort(-off, kind="stable")[:WORST])
    rest = np.setdiff1d(np.arange(len(names)), kept)
    groups = np.zeros((WORST + 1, len(names)), np.int64)
    groups[np.arange(WORST), kept] = 1
    groups[WORST, rest] = 1
    joined = groups @ table @ groups.T
    inside = int(joined[-1, -1] - np.diag(table)[rest].sum())  # one of the others taken for another of them
    joined[-1, -1] -= inside
    return [*(names[k] for k in kept), OTHERS], joined


def _cell(n: int, share: float, written: bool) -> str:
    if not n:
        return ""
    return f"{100 * share:.0f}" if written else f"{n:d}"


def _tall(names: list[str], half: bool) -> float:
    """Inches: cells about as tall as they are broad, and the names beneath."""
    k, letters = len(names), min(max(map(len, names)), LETTERS)
    broad = ((4.35 if half else 9.0) - 0.35 - 0.078 * letters) / k
    return min(max(broad, 0.118), max(0.27, 1.6 / k)) * k + 0.062 * letters + 0.5


def recalls(run: Run) -> Chart | None:
    """Of each class the share that was told and the share of its guesses that are right; of few classes only, for
    which it stands beside the table of confusion."""
    found = confused(run)
    if found is None or not 2 <= len(found[0]) <= SMALL or not found[1].any():
        return None
    names, table = found
    came, guessed, hit = table.sum(1), table.sum(0), np.diag(table)
    recall, precision = (np.where(n > 0, hit / np.maximum(n, 1), np.nan) for n in (came, guessed))
    words = "By class: how many of its series were told (bars), how many of the guesses of it are right (diamonds). "
    words += "Beside each class stands how many test series it has."
    alt = words + "".join(f" {name}: {percent(float(r))} of {n:,d}." for name, r, n in
                          zip(names, recall, came, strict=True) if n)  # fmt: skip
    labels = [f"{name} ({n:,d})" for name, n in zip(brief(names, 12), came.tolist(), strict=True)]
    panel = right(labels, recall, precision, "of its series")
    return Chart("recalls", "Right by class", words, alt, (panel,), half=True)
