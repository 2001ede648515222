"""What pages are built of. Everything is text until it is a Dash component: labels from files cannot become HTML."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dash import dcc, html

from forecast.dashboards.app.light import light
from forecast.dashboards.app.page import Node, View, address
from forecast.dashboards.app.plot import CONFIG, plots
from forecast.dashboards.charts.chart import Chart

ROWS = 50  # of a table at once


class Column(NamedTuple):
    key: str  # names it in the address: ?sort=key
    label: str
    number: bool = True  # right-aligned
    title: str = ""  # more words, for the pointer
    sorts: bool = True


def aria(**words: str) -> Any:
    """Words for those who cannot see: aria(label="Rows") as keywords of a component."""
    return {f"aria-{key}": value for key, value in words.items()}


def graph(chart: Chart | None, view: View, key: str = "") -> Node:
    """A chart with its title and caption; nothing for None. `key` gives its graph an id for callbacks."""
    if chart is None:
        return None
    drawn = plots(chart, view.theme)
    given = [{"id": f"{key}{f'-{k}' if k else ''}"} if key else {} for k in range(len(drawn))]
    panels = [
        dcc.Graph(figure=figure, config=CONFIG, style={"height": figure["layout"]["height"]}, **more)  # type: ignore[arg-type]
        for figure, more in zip(drawn, given, strict=True)
    ]
    shape = {"--columns": str(chart.columns)} if len(panels) > 1 else {}
    return html.Figure(
        [
            html.H2(chart.title),
            html.Div(panels, className="panels", style=shape, role="group", **aria(label=chart.alt)),
            html.Figcaption(chart.caption),
        ],
        className="half" if chart.half else "full",
        id=f"figure-{chart.name}" if not key else f"figure-{key}",
    )


def grid(*children: Node) -> Node:
    """Halves stand two beside each other on a wide page."""
    return html.Div([child for child in children if child is not None], className="grid")


def section(title: str, *children: Node, key: str = "") -> Node:
    """A part of a page; nothing where it has no content."""
    kept = [child for child in children if child is not None]
    if not kept:
        return None
    named: Any = {"id": key} if key else {}
    return html.Section([html.H2(title), *kept], **named)


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Node]],
    view: View,
    path: str = "",
    *,
    sort: bool = True,
    marked: Iterable[int] = (),
    prefix: str = "",
) -> Node:
    """Rows that are sorted already (see `order`), fifty at a time. With `path` the heads are links that sort by
    ?sort=key (a second time: downwards, ?sort=-key). `marked` rows stand out; `prefix` keeps the keys of two tables
    apart."""
    here = view.number(f"{prefix}page", 1, 1)
    last = max(-(-len(rows) // ROWS), 1)
    first = (min(here, last) - 1) * ROWS
    chosen = view.one(f"{prefix}sort")
    heads = [_head(column, chosen, view, path if sort else "", prefix) for column in columns]
    lit = set(marked)
    body = [
        html.Tr(
            [_cell(column, value, k == 0) for k, (column, value) in enumerate(zip(columns, row, strict=True))],
            className="model" if first + number in lit else "",
        )
        for number, row in enumerate(rows[first : first + ROWS])
    ]
    content = html.Table([html.Caption(caption), html.Thead(html.Tr(heads)), html.Tbody(body)])
    lighter = light(content)
    # Of another key, so that React never puts its elements among those that the page has built.
    given: Any = {"children": content, "key": "dash"} if lighter is None else {"data-light": lighter, "key": "light"}
    whole = html.Div(className="scroll", tabIndex=0, role="region", **aria(label=caption), **given)
    return whole if last == 1 else html.Div([whole, _pages(min(here, last), last, len(rows), view, path, prefix)])


def order(rows: Sequence[Any], keys: Mapping[str, Any], view: View, other: str, prefix: str = "") -> list[Any]:
    """Rows by what the address asks for (?sort=key or -key); `keys` name functions of a row. None comes last."""
    asked = view.one(f"{prefix}sort", other)
    down, name = asked.startswith("-"), asked.removeprefix("-")
    key = keys.get(name) or keys[other.removeprefix("-")]
    held = [row for row in rows if _there(key(row))]
    lost = [row for row in rows if not _there(key(row))]
    return sorted(held, key=key, reverse=down) + lost


def _there(value: Any) -> bool:
    return value is not None and value == value


def _head(column: Column, chosen: str, view: View, path: str, prefix: str) -> Node:
    side = "" if column.number else "left"
    if not path or not column.sorts:
        return html.Th(column.label, scope="col", title=column.title or None, className=side)
    up, down = chosen == column.key, chosen == f"-{column.key}"
    query = {**view.query, f"{prefix}sort": f"-{column.key}" if up else column.key, f"{prefix}page": ""}
    state = aria(sort="ascending" if up else "descending") if up or down else {}
    link = dcc.Link([column.label, " ↑" if up else " ↓" if down else ""], href=address(path, **query))
    return html.Th(link, scope="col", title=column.title or None, className=side, **state)


def _cell(column: Column, value: Node, first: bool) -> Node:
    if first:
        return html.Th(value, scope="row", className="" if column.number else "left")
    return html.Td(value, className="" if column.number else "left")


def _pages(here: int, last: int, rows: int, view: View, path: str, prefix: str) -> Node:
    def to(page: int, words: str) -> Node:
        if not 1 <= page <= last:
            return html.Span(words, className="none")
        return dcc.Link(words, href=address(path or "?", **{**view.query, f"{prefix}page": page}).removeprefix("??"))

    told = f"{(here - 1) * ROWS + 1:,d} to {min(here * ROWS, rows):,d} of {rows:,d}"
    return html.Nav(
        [to(here - 1, "← before"), html.Span(told), to(here + 1, "after →")],
        className="pages",
        **aria(label="Rows"),
    )


def facts(pairs: Iterable[tuple[str, Node]]) -> Node:
    """A list of names and values; pairs without a value are left out."""
    rows = [html.Div([html.Dt(k), html.Dd(v)]) for k, v in pairs if v is not None and v != "" and v != []]
    return html.Dl(rows, className="facts") if rows else None


def tiles(items: Iterable[tuple[str, str, str]]) -> Node:
    """(label, value, unit or a few words) in a row of boxes."""
    cards = [html.Div([html.Dt(k), html.Dd([v, " ", html.Small(unit)])]) for k, v, unit in items]
    return html.Dl(cards, className="tiles") if cards else None


def box(*children: Node) -> Node:
    return html.Div([child for child in children if child is not None], className="box")


def note(*words: Node) -> Node:
    return html.P(list(words), className="note")


def alarm(*words: Node) -> Node:
    """Something is wrong; read aloud at once."""
    return html.P(list(words), className="alarm", role="alert")


def empty(title: str, words: str, command: str = "") -> Node:
    """Where there is nothing to show: what is missing, and what to run."""
    return html.Div([html.H2(title), html.P(words), code(command) if command else None], className="empty")


def reading(share: float, key: str, every_ms: int) -> Node:
    """Predictions are being read: how far it is; `key` names the clock by which the page looks again."""
    words = f"Reading the predictions for the first time: {100 * share:.0f} % is done."
    bar = html.Progress(value=f"{share:.3f}", max="1", **aria(label="Predictions read"))
    return html.Div([html.P(words, role="status"), bar, dcc.Interval(id=key, interval=every_ms)], className="box")


def code(words: str, label: str = "Command") -> Node:
    """Text to be copied, with a button that does."""
    copied: Any = {"data-copy": words}
    return html.Div(
        [
            html.Pre(html.Code(words), tabIndex=0, role="group", **aria(label=label)),
            html.Button("Copy", className="copy", type="button", **copied),
        ],
        className="code",
    )


def link(words: Node, path: str, **query: object) -> Node:
    """A link to another page, or to another state of this one."""
    return dcc.Link(words, href=address(path, **query))


def outside(words: Node, url: str) -> Node:
    """A link that leaves the dashboard, in a window of its own; words alone where it is no address of the web or of
    this server."""
    if not url.startswith("/") and urlsplit(url).scheme not in ("http", "https"):
        return words
    return html.A(words, href=url, target="_blank", rel="noopener noreferrer")


def badge(words: str, tone: str = "muted") -> Node:
    """A word on a state: good, bad or muted."""
    return html.Span(words, className=f"badge {tone}")


def swatch(role: str) -> Node:
    return html.Span(className="key", style={"background": f"var(--{role})"}, **aria(hidden="true"))


def fold(title: str, *children: Node) -> Node:
    return html.Details([html.Summary(title), *[child for child in children if child is not None]])


def controls(*children: Node) -> Node:
    """A row of things to choose by."""
    return html.Div([child for child in children if child is not None], className="controls", role="group")


def choose(
    key: str,
    label: str,
    options: Sequence[tuple[str, str]],
    view: View,
    *,
    many: bool = False,
    other: str = "",
    drops: Sequence[str] = (),
    empty: str = "all",
) -> Node:
    """A list to choose from, bound to ?key=; `other` is what holds where the address says nothing, `empty` what is
    written where nothing is chosen, `drops` are keys
    of the address that make no sense any more once this changes."""
    given = list(view.query.get(key, ()))
    return html.Label(
        [
            html.Span(label),
            dcc.Dropdown(
                id=_bound(key, many, drops, other),
                options=[{"value": value, "label": words} for value, words in options],
                value=(given or [other] * bool(other)) if many else next(iter(given), other) or None,
                multi=many,
                clearable=many or not other,
                placeholder=empty,
            ),
        ],
        className="control",
    )


def search(key: str, label: str, view: View, *, drops: Sequence[str] = (), hint: str = "") -> Node:
    """A line of text, bound to ?key=."""
    return html.Label(
        [
            html.Span(label),
            dcc.Input(
                id=_bound(key, False, drops, ""),
                type="search",
                value=view.one(key),
                debounce=True,
                placeholder=hint or None,
            ),
        ],
        className="control",
    )


def slider(key: str, label: str, values: Sequence[str], view: View, *, told: Sequence[str] = ()) -> Node:
    """Where one stands among `values` (of ?key=; the last where the address says nothing), by pointer or arrow
    keys; `told` are the words for each. Nothing for fewer than two."""
    if len(values) < 2:
        return None
    words, given = list(told or values), view.one(key)
    here = list(values).index(given) if given in values else len(values) - 1
    return html.Div(
        [
            html.Div([html.Span(label), html.Output(words[here])]),
            dcc.Slider(
                id={"type": "slide", "key": key},
                min=0,
                max=len(values) - 1,
                step=1,
                value=here,
                marks=None,
                updatemode="mouseup",
                included=False,
                allow_direct_input=False,
            ),
            html.Div([html.Span(words[0]), html.Span(words[-1])], className="ends"),
            dcc.Store(id={"type": "slide-values", "key": key}, data=list(values)),
        ],
        className="control wide",
    )


def _bound(key: str, many: bool, drops: Sequence[str], other: str) -> dict[str, str]:
    """The id by which assets/page.js binds a control to the address."""
    return {"type": "bound", "key": key, "many": str(int(many)), "other": other, "drops": ",".join(("page", *drops))}
