"""How good a model is that tells classes apart, in words and in tables: always beside its rival and the floor."""

import math
from typing import Any, NamedTuple

import numpy as np

from forecast.dashboards.charts.style import count, number, role_of
from forecast.dashboards.load import Run
from forecast.dashboards.measures import Column, best_other, lead, measured, percent
from forecast.dashboards.page import fold, note, table, text

COLUMNS = (
    Column("accuracy", "Accuracy", "Guesses", 1, "points"),
    Column("balanced_accuracy", "Balanced accuracy", "Guesses", 1, "points"),
    Column("macro_f1", "Macro-F1", "Guesses", 1, "number"),
    Column("log_loss", "Log loss", "Probabilities", -1, "number"),
    Column("ece", "ECE", "Probabilities", -1, "points"),
)
ROLES = {"rival": "seasonal", "floor": "last", "ensemble": "ridge"}
ORDER = ("model", "ensemble", "rival", "floor")
HARDEST = 15  # classes in the first table, where there are many
PAIRS = 15  # of confused classes in the table


class ClassRow(NamedTuple):
    """A row of the score table; what it does not have is not in `values`."""

    name: str
    kind: str  # model, ensemble, rival or floor
    values: dict[str, float]

    @property
    def role(self) -> str:
        return "model" if self.kind == "model" else ROLES.get(self.kind, role_of(self.name, "baseline"))


def class_rows(run: Run) -> list[ClassRow]:
    """The score table: the model, then its rivals, then the floors."""
    found = []
    for row in run.metrics.get("rows") or []:
        if isinstance(row, dict):
            given = {column.key: row.get(column.key) for column in COLUMNS}
            if row.get("kind") == "floor":
                given.pop("ece")  # the same probabilities for every series are true of themselves
            values = {key: float(value) for key, value in given.items()
                      if isinstance(value, int | float) and math.isfinite(value)}  # fmt: skip
            found.append(ClassRow(str(row.get("name", "?")), str(row.get("kind", "")), values))
    places = {kind: k for k, kind in enumerate(ORDER)}
    return sorted(found, key=lambda row: places.get(row.kind, len(places)))


def columns(run: Run) -> list[Column]:
    """The columns that some row has."""
    rows = class_rows(run)
    return [column for column in COLUMNS if any(column.key in row.values for row in rows)]


def class_names(run: Run) -> list[str]:
    """The classes in the order of their codes."""
    return [str(name) for name in run.metrics.get("classes") or run.spec.get("classes") or []]


def confused(run: Run) -> tuple[list[str], np.ndarray] | None:
    """The classes and the (K, K) table of the test series: truth, guess; None where the run has none."""
    names, rows = class_names(run), run.metrics.get("confusion")
    try:
        found = np.array(rows if rows is not None else [], np.int64)
    except (ValueError, TypeError):
        return None
    return (names, found) if names and found.shape == (len(names),) * 2 else None


def pairs(found: np.ndarray) -> list[tuple[int, int, int]]:
    """Which class was taken for which other, and how often, the most frequent first."""
    off = found.copy()
    np.fill_diagonal(off, 0)
    truth, guess = np.nonzero(off)
    order = np.argsort(-off[truth, guess], kind="stable")
    return [(int(truth[k]), int(guess[k]), int(off[truth[k], guess[k]])) for k in order]


def tested(run: Run) -> int:
    """How many test series there are."""
    n = run.part("series").get("test")
    return n if isinstance(n, int) else 0


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share that was seen among n."""
    z = 1.959964
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, (middle - half) / (1 + z**2 / n)), min(1.0, (middle + half) / (1 + z**2 / n))


def headline(run: Run) -> tuple[str, str, str]:
    """The result in words, a verdict, and its tone: "good", "bad" or ""."""
    rows, n = class_rows(run), tested(run)
    model = next((row for row in rows if row.kind == "model"), None)
    if model is None or "accuracy" not in model.values:
        return "This run has no scores.", "", ""
    accuracy, names = model.values["accuracy"], class_names(run)
    among = f" of {len(names)} classes" if names else ""
    words = f"{percent(accuracy)} of {count(n)} test series{among} are told rightly"
    if n:
        low, high = wilson(accuracy, n)
        words += f" (95\u00a0% interval {100 * low:.1f} to {100 * high:.1f}\u00a0%)"
    first = COLUMNS[0]
    worse = [row for row in rows if row.kind in ("rival", "floor") and row.values.get("accuracy", -1.0) > accuracy]
    other, gain = best_other(rows, first), lead(rows, first)
    if other is None or gain is None:
        return f"{words}.", "", ""
    size = f"{abs(gain) * 100:.1f}\u00a0points"
    if not worse:
        level = f"as good as {other.name}" if gain == 0 else f"better than {other.name} by {size} of accuracy"
        return f"{words}.", f"{run.model} is {level}.", "good" if gain > 0 else ""
    beaten = [row.name for row in rows if row.kind in ("rival", "floor") and row not in worse]
    but = f", and beats {', '.join(beaten)}" if beaten else ""
    return f"{words}.", f"{run.model} is behind {other.name} by {size} of accuracy{but}.", "" if beaten else "bad"


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """The scores that stand in the header: (name, figure, unit)."""
    rows = class_rows(run)
    model = next((row for row in rows if row.kind == "model"), None)
    if model is None:
        return []
    made = [(column.title, shown(column, model.values[column.key]), "")
            for column in COLUMNS if column.key in model.values and column.key != "macro_f1"]  # fmt: skip
    gain, other = lead(rows, COLUMNS[0]), best_other(rows, COLUMNS[0])
    if gain is not None and other is not None:
        made.insert(1, (f"{'Over' if gain >= 0 else 'Behind'} {other.name}", f"{abs(gain) * 100:.1f}", "points"))
    return made


def shown(column: Column, value: float) -> str:
    if column.how == "points":
        return percent(value)
    return f"{value:.3f}".replace("-", "−")


def score_table(run: Run) -> list[str]:
    """The model beside its rivals and floors, the best of each column bold."""
    rows = class_rows(run)
    if not rows:
        return [note("This run wrote no scores (metrics.json is missing or has no rows).")]
    made = measured("Scores on the test series", rows, columns(run), shown, "against the best other", first="Model")
    known, k = run.metrics.get("temperature"), max(len(class_names(run)), 1)
    cooled = f", at the temperature {number(known, 3)} that fits validation" if isinstance(known, int | float) else ""
    words = (
        "The best of each column is bold; ↑ the higher the better, ↓ the lower. Balanced accuracy and macro-F1 are "
        f"means over classes, whatever their size. Log loss: nats per series{cooled}; who gives all {k} classes the "
        f"same probability has {number(math.log(k), 3)}. ECE, the expected calibration error: how far confidence is "
        "from the share that is right, on average over 15 bins; that of the same probabilities for all says nothing. ▲ "
        "better and ▼ worse than the best other row (pp: percentage points)."
    )
    return [made, note(words)]


def class_table(run: Run) -> list[str]:
    """A row for each class, the hardest alone where there are many, then all of them folded away."""
    given = [row for row in run.metrics.get("per_class") or [] if isinstance(row, dict)]
    if not given:
        return []
    found = confused(run)
    rows = [_class(run, k, row, found) for k, row in enumerate(given)]
    heads = ("Class", "Train", "Val", "Test", "Recall", "Precision", "F1", "Most often taken for")
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in heads)
    head = f"<tr>{head}</tr>"
    words = "Recall: of the series of the class, those that were told; precision: of the guesses of it, those right."
    if len(rows) <= HARDEST + 5:
        return ["<h3>Class by class</h3>", table("Classes", head, rows, "dense"), note(words)]
    order = sorted(range(len(given)), key=lambda k: (float(given[k].get("f1") or 0.0), k))
    hardest = table(f"The {HARDEST} hardest of {len(rows)} classes", head, [rows[k] for k in order[:HARDEST]], "dense")
    everything = fold(f"All {len(rows)} classes", table("All classes", head, rows, "dense"))
    return [f"<h3>The {HARDEST} hardest of {len(rows)} classes, by F1</h3>", hardest, note(words), everything]


def _class(run: Run, k: int, row: dict[str, Any], found: tuple[list[str], np.ndarray] | None) -> str:
    counts = [(run.part("counts").get(part) or []) for part in ("train", "val")]
    held = [count(each[k]) if k < len(each) else "–" for each in counts]
    shares = [percent(float(row[key])) if isinstance(row.get(key), int | float) else "–" for key in
              ("recall", "precision")]  # fmt: skip
    f1 = f"{row['f1']:.3f}" if isinstance(row.get("f1"), int | float) else "–"
    cells = "".join(f"<td>{text(cell)}</td>" for cell in
                    (*held, count(row.get("series")), *shares, f1, _other(found, k)))  # fmt: skip
    return f'<tr><th scope="row">{text(row.get("name", "?"))}</th>{cells}</tr>'


def _other(found: tuple[list[str], np.ndarray] | None, k: int) -> str:
    """`b (3)`: the class that this one was most often taken for."""
    if found is None or k >= len(found[0]):
        return "–"
    names, line = found[0], found[1][k].copy()
    line[k] = 0
    worst = int(line.argmax())
    return f"{names[worst]} ({line[worst]:,d})" if line[worst] else "–"


def pair_table(run: Run, least: int) -> list[str]:
    """Which was taken for which most often, where there are more than `least` classes: the figure is dense then."""
    found = confused(run)
    if found is None or len(found[0]) <= least:
        return []
    names, counts = found
    listed = pairs(counts)
    if not listed:
        return []
    total = counts.sum(1)
    body = [f'<tr><th scope="row">{text(names[a])}</th><td>{text(names[b])}</td><td>{n:,d}</td>'
            f"<td>{percent(n / int(total[a]))}</td></tr>" for a, b, n in listed[:PAIRS]]  # fmt: skip
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Class", "Taken for", "Series", "Of the class"))
    more = f" {len(listed) - PAIRS:,d} more pairs are left out." if len(listed) > PAIRS else ""
    return ["<h3>Confused most often</h3>", table("The most confused classes", f"<tr>{head}</tr>", body, "dense"),
            note(f"Each pair of a class and what it was taken for.{more}")]  # fmt: skip
