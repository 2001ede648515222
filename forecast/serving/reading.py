"""The JSON of a request into the series it holds. What is wrong with its form is refused, in one line; what is wrong
with the data of one series is said of that series alone, by `Given.fault`."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecast.data.stamps import NOTHING
from forecast.errors import nearest
from forecast.serving.shape import Shape
from forecast.serving.times import Off, regular, stamps
from forecast.streaming.serving.guard import Refusal

LONGEST: Final = 256  # signs of a name
LEVELS: Final = 100
NUMBER: Final = frozenset((float, int))
CELL: Final = frozenset((float, int, type(None)))
WORD: Final = frozenset((str, type(None)))
ON_BAD: Final = ("quarantine", "fallback", "error")
KEYS: Final = {
    "forecast": ("series", "rows", "levels", "horizon", "on_bad"),
    "event": ("series", "rows", "levels", "now", "on_bad"),
    "classify": ("series", "rows", "on_bad"),
}
OF_SERIES: Final = ("unique_id", "ds", "start", "freq", "values", "y", "mark", "known", "static")


class Limits(NamedTuple):
    series: int  # of a request
    steps: int  # of a series


class Given(NamedTuple):
    """One series of a request."""

    name: str  # as it was written
    key: str  # what the model knows it by
    rows: int
    time: NDArray[Any] | None  # (rows,) stamps in UTC, or numbers
    values: dict[str, Any]  # column -> (rows,) numbers, or a list of text
    known: dict[str, list[Any]]  # column -> cells of these rows and of the steps after them
    static: dict[str, Any]
    fault: tuple[str, str] | None = None  # reason and detail: it cannot be put into a table


class Query(NamedTuple):
    series: list[Given]
    levels: tuple[float, ...] | None = None
    horizon: int | None = None
    on_bad: str = "quarantine"
    now: Any = None  # of events: a time, or a number where times are numbers


def read(body: bytes, shape: Shape, limits: Limits) -> Query:
    """Refusal: 400 no JSON, 422 another form than the schema's, or more."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"no JSON: {error}") from None
    keys = KEYS[shape.task]
    if type(found) is not dict:
        raise _form("the body is no object", f"expected {{{keys[0]}: [...]}}")
    _known(found, keys, "the request")
    if ("series" in found) == ("rows" in found):
        raise _form("expected either series or rows")
    series = _list(found, "series") if "series" in found else _grouped(_list(found, "rows"), shape, limits)
    if len(series) > limits.series:
        raise _form(f"there are {len(series):,} series", f"expected at most {limits.series:,} in a request")
    on_bad = found.get("on_bad", "quarantine")
    if on_bad not in ON_BAD:
        raise _form(f"on_bad is {_shown(on_bad)}", f"expected {', '.join(ON_BAD)}")
    now = found.get("now")
    if now is not None and type(now) not in ((str,) if shape.clock == "stamps" else (float, int)):
        raise _form(f"now is {_shown(now)}", "expected a time as those in ds are")
    return Query(
        [_one(each, shape, limits) for each in series], _levels(found.get("levels")),
        _horizon(found.get("horizon"), shape), on_bad, now,
    )  # fmt: skip


def _levels(given: Any) -> tuple[float, ...] | None:
    if given is None:
        return None
    if type(given) is not list or len(given) > LEVELS or not NUMBER.issuperset(map(type, given)):
        raise _form(f"levels is {_shown(given)}", f"expected at most {LEVELS} numbers")
    if not all(0 < level < 1 for level in given) or len(set(given)) < len(given):
        raise _form(f"levels is {_shown(given)}", "expected different numbers between 0 and 1")
    return tuple(float(level) for level in given)


def _horizon(given: Any, shape: Shape) -> int | None:
    if given is None:
        return None
    if type(given) not in NUMBER or given != int(given) or not 1 <= given <= shape.horizon:
        raise _form(f"horizon is {_shown(given)}", f"expected 1 to {shape.horizon:,}, the steps of the model")
    return int(given)


def _one(found: Any, shape: Shape, limits: Limits) -> Given:
    """A series. Checks are of whole lists: nothing is done cell by cell."""
    if type(found) is not dict:
        raise _form("a series is no object")
    _known(found, OF_SERIES, "a series")
    name = _name(found, shape)
    columns, rows = _columns(found, shape, name, limits)
    known = {shape.known[key]: cells for key, cells in _others(found, "known", shape.known, name, limits).items()}
    static = _static(found, shape, name)
    if shape.mark is None and "mark" in found:
        raise _form(f"series '{name}' has marks", "expected none: the model does not tell events apart")
    time: Callable[[int], Any] = _times(found, shape, name, limits)
    given = Given(name, name.strip() if shape.id is not None else shape.alone, rows, None, columns, known, static)
    try:
        if given.key.lower() in NOTHING:
            raise ValueError("the name of the series is empty")
        stamped = time(rows) if rows >= 0 else time(len(found.get("ds", ())))
        rows = len(stamped) if rows < 0 and stamped is not None else rows
        odd = [key for key, cells in columns.items() if len(cells) != rows]
        if odd or (stamped is not None and len(stamped) != rows):
            raise ValueError(f"its lists are not of one length: {', '.join(_lengths(columns, stamped))}")
        if any(len(cells) < rows for cells in known.values()):
            raise ValueError(f"a covariate has fewer cells than the {rows:,} steps that have been")
    except Off as error:
        return given._replace(fault=("bad_freq", str(error)))
    except ValueError as error:
        return given._replace(fault=("parse_error", str(error)))
    return given._replace(time=stamped, rows=rows)


def _name(found: dict[str, Any], shape: Shape) -> str:
    name = found.get("unique_id", shape.alone if shape.id is None else None)
    if type(name) is not str or not 0 < len(name) <= LONGEST:
        raise _form(f"unique_id is {_shown(name)}", f"expected the name of a series, at most {LONGEST} signs")
    return name


def _columns(found: dict[str, Any], shape: Shape, name: str, limits: Limits) -> tuple[dict[str, Any], int]:
    """The columns of what was measured, and how many rows there are; -1: only the times tell."""
    if "y" in found:
        if shape.one is None or "values" in found:
            raise _form(f"series '{name}' has y", f"expected values: {{{', '.join(shape.numbers) or 'none'}}}")
        given = {shape.one: found["y"]}
    else:
        given = found.get("values", {})
        if type(given) is not dict:
            raise _form(f"values of series '{name}' is {_shown(given)}", "expected lists by name")
    for key in given:
        if key not in shape.numbers and key not in shape.others:
            raise _form(f"series '{name}': '{key[:40]}' is no channel", nearest(key[:40], shape.numbers))
    if lacks := [key for key in shape.needed if key not in given]:
        raise _form(f"series '{name}' has no values of '{lacks[0]}'", f"expected {', '.join(shape.needed)}")
    columns: dict[str, Any] = {}
    for key, cells in given.items():
        _cells(cells, f"'{key}' of series '{name}'", limits, text=key in shape.others)
        if key in shape.numbers:
            columns[shape.numbers[key]] = np.array(cells, np.float64)
        else:
            columns[shape.others[key]] = cells
    if shape.mark is not None:
        columns[shape.mark] = _marks(found.get("mark"), name, limits)
    return columns, len(next(iter(columns.values()))) if columns else -1


def _marks(cells: Any, name: str, limits: Limits) -> list[str]:
    if type(cells) is not list or not 1 <= len(cells) <= limits.steps or {str} != set(map(type, cells)):
        raise _form(f"mark of series '{name}' is {_shown(cells)}", f"expected 1 to {limits.steps:,} texts")
    return cells


def _cells(cells: Any, what: str, limits: Limits, *, text: bool) -> None:
    """Numbers or null; with `text`, or text instead."""
    if type(cells) is not list or not 1 <= len(cells) <= limits.steps:
        size = f"a list of {len(cells):,}" if type(cells) is list else _shown(cells)
        raise _form(f"{what} is {size}", f"expected a list of 1 to {limits.steps:,}")
    kinds = set(map(type, cells))
    if not kinds <= CELL and not (text and kinds <= WORD):
        raise _form(f"{what} holds what is no number", "expected numbers or null")


def _others(found: dict[str, Any], key: str, names: dict[str, str], name: str, limits: Limits) -> dict[str, Any]:
    given = found.get(key, {})
    if type(given) is not dict:
        raise _form(f"{key} of series '{name}' is {_shown(given)}", "expected lists by name")
    for each, cells in given.items():
        if each not in names:
            raise _form(f"series '{name}': '{each[:40]}' is not {key}", nearest(each[:40], names))
        _cells(cells, f"'{each}' of series '{name}'", limits, text=True)
    return given


def _static(found: dict[str, Any], shape: Shape, name: str) -> dict[str, Any]:
    given = found.get("static", {})
    if type(given) is not dict:
        raise _form(f"static of series '{name}' is {_shown(given)}", "expected facts by name")
    for each, cell in given.items():
        if each not in shape.static:
            raise _form(f"series '{name}': '{each[:40]}' is not static", nearest(each[:40], shape.static))
        if type(cell) not in CELL and type(cell) is not str:
            raise _form(f"'{each}' of series '{name}' is {_shown(cell)}", "expected a number or text")
    return {shape.static[each]: cell for each, cell in given.items()}


def _times(found: dict[str, Any], shape: Shape, name: str, limits: Limits) -> Callable[[int], Any]:
    """What makes the times of so many rows."""
    has = "ds" in found, "start" in found
    if shape.clock == "none":
        if has != (False, False):
            raise _form(f"series '{name}' has times", "expected none: the model goes by the order of steps")
        return lambda rows: None
    startable = shape.freq is not None
    if sum(has) != 1 or (has[1] and not startable) or ("freq" in found and not has[1]):
        raise _form(f"series '{name}'", f"expected ds{', or start and freq' if startable else ''}")
    if has[1]:
        start, freq = found["start"], found.get("freq")
        if type(start) is not str or type(freq) not in WORD:
            raise _form(f"start of series '{name}' is {_shown(start)}, freq {_shown(freq)}", "expected texts")
        return lambda rows: regular(start, freq, rows, str(shape.freq), shape.zone)
    ds = found["ds"]
    kinds = NUMBER if shape.clock == "numbers" else frozenset((str,))
    if type(ds) is not list or not 1 <= len(ds) <= limits.steps or not kinds.issuperset(map(type, ds)):
        raise _form(
            f"ds of series '{name}' is {_shown(ds)}",
            f"expected 1 to {limits.steps:,} {'numbers' if shape.clock == 'numbers' else 'times'}",
        )
    if shape.clock == "numbers":
        return lambda rows: np.array(ds, np.float64)
    return lambda rows: stamps(ds, shape.zone, shape.freq)


def _grouped(rows: list[Any], shape: Shape, limits: Limits) -> list[dict[str, Any]]:
    """Long rows, {unique_id, ds, CHANNEL: …}, into series in the order of their first rows."""
    if not rows:
        raise _form("there are no rows")
    names = {*shape.numbers, *shape.others}
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if type(row) is not dict:
            raise _form("a row is no object")
        name = row.get("unique_id", shape.alone if shape.id is None else None)
        if type(name) is not str:
            raise _form(f"unique_id is {_shown(name)}", "expected the name of a series")
        one = found.setdefault(name, {"unique_id": name, "values": {key: [] for key in names}})
        if len(found) > limits.series:
            raise _form(f"there are more than {limits.series:,} series in a request")
        for key, cell in row.items():
            if key == "unique_id":
                continue
            if key in ("ds", "mark"):
                one.setdefault(key, []).append(cell)
            elif key in names or key == "y" and shape.one is not None:
                one["values"][key if key in names else str(shape.one)].append(cell)
            else:
                raise _form(f"'{key[:40]}' is no column of rows", nearest(key[:40], {*names, "unique_id", "ds"}))
    return list(found.values())


def _list(found: dict[str, Any], key: str) -> list[Any]:
    given = found[key]
    if type(given) is not list or not given:
        raise _form(f"{key} is {_shown(given)}", "expected a list that holds something")
    return given


def _known(found: dict[str, Any], keys: Sequence[str], what: str) -> None:
    for key in found:
        if key not in keys:
            raise _form(f"{what} has '{key[:40]}'", nearest(key[:40], keys))


def _lengths(columns: dict[str, Any], time: Any) -> list[str]:
    sizes = {key: len(cells) for key, cells in columns.items()} | ({} if time is None else {"ds": len(time)})
    return [f"{key} {size:,}" for key, size in sizes.items()]


def _form(found: str, expected: str = "") -> Refusal:
    return Refusal(422, "; ".join(part for part in (found, expected) if part))


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:40]
