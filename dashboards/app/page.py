"""What a page of the dashboard is: a function of the address and of what is on disk."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlencode

from forecast.dashboards.app.sources import Sources

FIELDS = 50  # of an address; a page needs a dozen
LETTERS = 4000  # of an address
Theme = Literal["light", "dark"]
Node = Any  # a Dash component, a list of them, or text


class View(NamedTuple):
    """What a page is drawn from. All state of a page that is worth a link stands in the address."""

    sources: Sources
    query: Mapping[str, tuple[str, ...]]  # of the address: ?run=a&run=b is {"run": ("a", "b")}
    theme: Theme

    def one(self, key: str, other: str = "") -> str:
        """The first value of a key in the address."""
        return next(iter(self.query.get(key, ())), other)

    def number(self, key: str, other: int, low: int = 0, high: int = 1 << 31) -> int:
        """A whole number of the address, brought between `low` and `high`; what is no number is `other`."""
        text = self.one(key)
        return min(max(int(text), low), high) if text.lstrip("-").isdecimal() and len(text) < 12 else other


class Page(NamedTuple):
    """`render` gives what stands below the page's heading; it may raise ForecastError, which is shown in a sentence.
    `register` adds callbacks of its own, once, when the application is made."""

    path: str  # "/explorer"
    title: str
    about: str  # one sentence below the title
    render: Callable[[View], Node]
    register: Callable[[Any, Sources], None] | None = None  # (dash.Dash, Sources)


def address(path: str, **query: object) -> str:
    """The address of a page: lists become repeated keys, None and "" are left out."""
    kept = {key: value for key, value in query.items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


def read_query(search: str | None) -> Mapping[str, tuple[str, ...]]:
    """The keys and values of an address, as far as an address may be long."""
    text = (search or "").removeprefix("?")[:LETTERS]
    try:
        found = parse_qs(text, keep_blank_values=False, max_num_fields=FIELDS)
    except ValueError:
        return {}
    return {key: tuple(values) for key, values in found.items()}
