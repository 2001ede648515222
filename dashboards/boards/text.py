"""What every leaderboard is written with: figures with their spread, and tables as Markdown and HTML."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from forecast.dashboards.boards.lines import Interval, Line
from forecast.dashboards.charts.style import count, number
from forecast.dashboards.page import note, page, section, table, text


class Table(NamedTuple):
    """A leaderboard as it is read; the rows of `lines` come first, then those without runs."""

    title: str
    facts: str  # the sentence above it
    notes: list[str]
    first: str  # heading of the names
    titles: tuple[str, ...]  # of the other columns
    rows: list[tuple[str, list[str]]]
    drawn: list[Interval | None]  # the difference of each of the first rows, drawn below its figure
    column: int  # where that figure stands, from 0, without the names
    sign: int  # 1: a difference above 0 is good; -1: one below
    runs: int  # 0 for a table over others


def spread(values: Sequence[float]) -> str:
    """`0.3734 ± 0.0012`; without the deviation where there is one seed."""
    mean = statistics.fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return number(mean)
    return f"{number(mean)} ± {statistics.stdev(values):.2g}"


def share(values: Sequence[float]) -> str:
    """`84.2 ± 0.61 %`; a dash where one is missing."""
    mean = 100 * statistics.fmean(values)
    if not math.isfinite(mean):
        return "–"
    return f"{mean:.1f} %" if len(values) < 2 else f"{mean:.1f} ± {100 * statistics.stdev(values):.2g} %"


def difference(found: Interval | None, places: int = 4, scale: float = 1.0) -> str:
    """`−0.0031 [−0.0040, −0.0021] ▼`; of shares, `scale` 100, in percentage points."""
    if found is None or not math.isfinite(found.value):
        return "–"
    value = signed(found.value * scale, places)
    if found.low is None or found.high is None:
        return value
    mark = " ▼" if found.high < 0 else " ▲" if found.low > 0 else ""
    return f"{value} [{signed(found.low * scale, places)}, {signed(found.high * scale, places)}]{mark}"


def signed(value: float, places: int = 4) -> str:
    size = f"{abs(value):.{places}f}"
    return size if float(size) == 0 else f"{'−' if value < 0 else '+'}{size}"


def line_name(line: Line, unsaid: Sequence[str] = ()) -> str:
    """`aaren · value · none · direct, optim.lr=0.1 ✓`; parts that are `unsaid` are left out behind the model."""
    parts = [part for k, part in enumerate(line.parts) if not k or part not in unsaid]
    return " · ".join((*parts, *([line.variant] if line.variant else []))) + (" ✓" if line.chosen else "")


def markdown(title: str, how: str, tables: Sequence[Table]) -> str:
    parts = [f"# {_md(title)}", how]
    for each in tables:
        lines = [[each.first, *each.titles], ["---", *["---:"] * len(each.titles)]]
        lines += [[_md(first), *rest] for first, rest in each.rows]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {_md(each.title)}", " ".join([each.facts, *each.notes]), drawn]
    return "\n\n".join(parts) + "\n"


def _md(words: str) -> str:
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def html(title: str, how: str, tables: Sequence[Table]) -> str:
    """The page, in the dress of a run's report."""
    links = "".join(f'<li><a href="#s{k}">{text(each.title)}</a></li>' for k, each in enumerate(tables))
    runs, settings = count(sum(each.runs for each in tables)), sum(each.runs > 0 for each in tables)
    header = (
        f'<header><p class="eyebrow">Leaderboard</p><h1>{text(title)}</h1>'
        f'<p class="lead">{runs} runs in {settings} setting{"s" * (settings != 1)}.</p>'
        f'<p class="verdict">{text(how)}</p><nav aria-label="Contents"><ul>{links}</ul></nav></header>'
    )
    body = [section(f"s{k}", each.title, *_section(each)) for k, each in enumerate(tables)]
    foot = "<footer>Written by <code>forecast evaluate compare=…</code>; nothing is loaded from elsewhere.</footer>"
    return page(f"Leaderboard: {title}", [header, "<main>", *body, "</main>", foot])


def _section(each: Table) -> list[str]:
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in each.titles)
    head = f'<tr><th scope="col">{text(each.first)}</th>{head}</tr>'
    widest = max((abs(edge) for found in each.drawn if found for edge in found if edge is not None), default=0.0)
    body = []
    for k, (title, figures) in enumerate(each.rows):
        found = each.drawn[k] if k < len(each.drawn) else None
        shown = [f"<td>{text(figure)}</td>" for figure in figures]
        if found is not None:
            shown[each.column] = f"<td>{text(figures[each.column])}{_whisker(found, widest, each.sign)}</td>"
        kind = " class=model" if k == 0 and each.drawn else ""
        body.append(f'<tr{kind}><th scope="row">{text(title)}</th>{"".join(shown)}</tr>')
    return [note(" ".join([each.facts, *each.notes])), table(each.title, head, body, "dense")]


def _whisker(found: Interval, widest: float, sign: int) -> str:
    """A difference drawn: the interval, its middle, and the line of no difference."""
    if found.low is None or found.high is None or not widest > 0:
        return ""
    low, high, middle = (60 + 56 * edge / widest for edge in (found.low, found.high, found.value))
    side = (found.low > 0) - (found.high < 0)
    role = {1: "ridge", -1: "seasonal", 0: "muted"}[side * sign]
    return (
        '<br><svg width="120" height="10" viewBox="0 0 120 10" aria-hidden="true">'
        '<line x1="60" y1="0" x2="60" y2="10" stroke="var(--muted)" stroke-width="1"/>'
        f'<line x1="{low:.1f}" y1="5" x2="{high:.1f}" y2="5" stroke="var(--{role})" stroke-width="2"/>'
        f'<circle cx="{middle:.1f}" cy="5" r="3" fill="var(--{role})"/></svg>'
    )
