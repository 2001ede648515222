"""A table of scores with its columns: what the reports of events and of classes share.

A column knows which way is better; every row that is not the model (or an oracle) is what the model is measured
against, and the best of those is found for each column anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from forecast.dashboards.page import swatch, table, text


class Column(NamedTuple):
    """A column of the score table: where it stands in a row of metrics.json, and which way is better."""

    key: str
    title: str
    group: str
    sign: int  # 1: the higher the better; -1: the lower
    how: str  # of a difference: "nats", "percent", "points", "number"


class Scored(Protocol):
    """A row of the table; what it does not have is not in `values`."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def values(self) -> Mapping[str, float]: ...

    @property
    def role(self) -> str: ...


R = TypeVar("R", bound=Scored)
Shown = Callable[[Column, float], str]
OWN = ("model", "oracle", "ensemble")  # kinds of rows that are no rivals


def best_other(rows: Iterable[R], column: Column) -> R | None:
    """The best rival of a column; of equal ones that which knows least besides."""
    others = [row for row in rows if row.kind not in OWN and column.key in row.values]
    return max(others, key=lambda row: (column.sign * row.values[column.key], -len(row.values)), default=None)


def lead(rows: Sequence[Scored], column: Column) -> float | None:
    """How much better the model is than the best rival, in the column's own measure; below 0: worse."""
    model, other = next((row for row in rows if row.kind == "model"), None), best_other(rows, column)
    if model is None or other is None or column.key not in model.values:
        return None
    return column.sign * (model.values[column.key] - other.values[column.key])


def measured(
    caption: str, rows: Sequence[Scored], columns: Sequence[Column], shown: Shown, against: str,
    titles: Mapping[str, str] | None = None, first: str = "Forecast",
) -> str:  # fmt: skip
    """The table: the best of each column bold, under them how far the model is from the best rival (the line
    `against`), and an oracle behind that. `titles` rename groups of columns."""
    groups: dict[str, list[Column]] = {}
    for column in columns:
        groups.setdefault((titles or {}).get(column.group, column.group), []).append(column)
    above = "".join(f'<th class="group edge" scope="colgroup" colspan="{len(held)}">{text(title)}</th>'
                    for title, held in groups.items())  # fmt: skip
    starts = {held[0].key for held in groups.values()}
    edge = {column.key: ' class="edge"' if column.key in starts else "" for column in columns}
    below = "".join(f'<th scope="col"{edge[column.key]}>{text(column.title)}<span class="aim">'
                    f"{'↑' if column.sign > 0 else '↓'}</span></th>" for column in columns)  # fmt: skip
    head = f'<tr><td></td>{above}</tr><tr><th scope="col">{text(first)}</th>{below}</tr>'
    body: list[str] = []
    behind: list[str] = []  # the line of differences: what could be had
    for row in rows:
        cells = "".join(f"<td{edge[column.key]}>{_cell(row, column, rows, shown)}</td>" for column in columns)
        name = f'<th scope="row">{swatch(row.role)}{text(row.name)}</th>'
        kind = f" class={row.kind}" if row.kind in ("model", "oracle") else ""
        lines = behind if row.kind == "oracle" else body
        lines.append(f"<tr{kind}>{name}{cells}</tr>")
    gains = "".join(f"<td{edge[column.key]}>{_gain(rows, column)}</td>" for column in columns)
    body.append(f'<tr class="gain"><th scope="row">{text(against)}</th>{gains}</tr>')
    return table(caption, head, [*body, *behind], "dense")


def _cell(row: Scored, column: Column, rows: Sequence[Scored], shown: Shown) -> str:
    value = row.values.get(column.key)
    if value is None:
        return '<span class="none">–</span>'
    known = [each.values[column.key] for each in rows if column.key in each.values and each.kind != "oracle"]
    if row.kind == "oracle":
        return shown(column, value)
    best = len(known) > 1 and shown(column, value) == shown(column, column.sign * max(column.sign * v for v in known))
    return f"<strong>{shown(column, value)}</strong>" if best else shown(column, value)


def _gain(rows: Sequence[Scored], column: Column) -> str:
    """`+0.340`, `−14.1 %`, with the tone of better or worse in words and colour."""
    found, floor = lead(rows, column), best_other(rows, column)
    if found is None or floor is None:
        return '<span class="none">–</span>'
    words, tone = gain(column, found, floor.values[column.key])
    word = {"good": "better", "bad": "worse"}.get(tone)
    return f'<span class="{tone}"' + (f' title="{word} than {text(floor.name)}">' if word else ">") + f"{words}</span>"


def gain(column: Column, found: float, other: float) -> tuple[str, str]:
    """A lead over the best rival's score `other`, see `lead`, in words with its sign; its tone: good, bad, none."""
    raw = column.sign * found
    if column.how == "percent":
        words = f"{'−' if found > 0 else '+'}{abs(found / other) * 100:.1f}\u00a0%" if other else "–"
    elif column.how == "points":
        words = f"{'+' if raw >= 0 else '−'}{abs(found) * 100:.1f}\u00a0pp"
    else:
        words = signed(raw)
    if found == 0 or words[1:] in ("0.000", "0.0\u00a0pp"):
        return "level", "none"
    return (f"▲\u00a0{words}", "good") if found > 0 else (f"▼\u00a0{words}", "bad")


def percent(share: float) -> str:
    """`93 %`, finer where it is near to all or nothing."""
    fine = share >= 0.995 or share < 0.1
    return f"{share * 100:.{2 if fine and 0 < share < 1 else 1}f}\u00a0%"


def signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.3f}"
