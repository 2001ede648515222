"""What a stream says of one series, as a chart: its readings and forecasts, its events, or its classes by step."""

from datetime import datetime
from typing import Any, Final

import numpy as np

from forecast.dashboards.app.stream.ring import Kept, Line
from forecast.dashboards.charts.chart import Axis, Band, Chart, Mark, Panel, Points, Rule
from forecast.dashboards.charts.chart import Line as Stroke

ROLES: Final = ("model", "seasonal", "ridge", "last", "other")
STROKES: Final = ("solid", "dash", "dot", "dashdot")
SECONDS: Final = {"microsecond": 1e-6, "second": 1, "minute": 60, "hour": 3600, "day": 86400}
CAPTIONS: Final = {
    "series": "Readings, the latest forecast with its interval, and some earlier forecasts, fainter.",
    "events": "The last events, and when the next one is expected, and as what: its median, ringed, and its interval.",
    "classes": "How likely each class was after each step, the likeliest ones of now.",
}  # fmt: skip


def live_chart(kept: Kept, facts: dict[str, Any], *, steps: int = 100, channel: str = "") -> Chart:
    """The last `steps` of a series, and what is ahead; `channel` of several. Empty axes where nothing was heard."""
    kind = str(facts.get("kind", "series"))
    panel = {"events": _events, "classes": _classes}.get(kind, _series)(kept, facts, steps, channel)
    words = CAPTIONS.get(kind, CAPTIONS["series"])
    alt = f"{kept.key}: {words} {len(kept.seen):,d} of them are kept."
    return Chart(f"live-{kept.key}", kept.key, words, alt, (panel,), half=True)


def _series(kept: Kept, facts: dict[str, Any], steps: int, channel: str) -> Panel:
    channels = [str(name) for name in facts.get("channels") or [""]]
    at = channels.index(channel) if channel in channels else 0
    units = [str(unit) for unit in facts.get("units") or []]
    unit = units[at] if at < len(units) else ""
    label = f"{channels[at]} ({unit})" if unit else channels[at] or "value"
    seen = kept.seen[-steps:]
    times = _times([each.get("at") for each in seen])
    marks: list[Mark] = []
    start = times[0] if len(times) else None
    before = [(ahead, _of(line.get("y_hat"), channels[at])) for line in kept.earlier
              if len(ahead := _times(line.get("ds") or [])) and (start is None or ahead[-1] > start)]  # fmt: skip
    if before:
        marks.append(Stroke(*_joined(before), "earlier forecasts", "muted", "dot", 0.8))
    if kept.latest is not None:
        marks += _fan(kept.latest, channels[at], facts)
    if seen:
        values = np.array([_one(each.get("y"), channels[at]) for each in seen])
        marks.append(Stroke(*_broken(times, values), "readings", "ink", width=1.5))
    return Panel(tuple(marks), Axis("time", "time"), Axis(label), height=2.6)


def _fan(line: Line, channel: str, facts: dict[str, Any]) -> list[Mark]:
    """The latest forecast: bands from the widest to the narrowest, then the points."""
    ahead = _times(line.get("ds") or [])
    if not len(ahead):
        return []
    columns = [str(key) for key in facts.get("columns") or [] if key in line]
    found: list[Mark] = []
    for k in range(len(columns) // 2):
        low, high = columns[k], columns[-1 - k]
        words = f"{_percent(low)} to {_percent(high)} %"
        found.append(Band(ahead, _of(line[low], channel), _of(line[high], channel), words, "model", 0.16))
    found.append(Stroke(ahead, _of(line.get("y_hat"), channel), "latest forecast", "model", width=1.9))
    if (cutoff := _times([line.get("cutoff")])).size:
        found.append(Rule(cutoff[0]))
    return found


def _events(kept: Kept, facts: dict[str, Any], steps: int, channel: str) -> Panel:
    stamps, unit = bool(facts.get("stamps", True)), str(facts.get("unit") or "")
    seen = [each for each in kept.seen[-steps:] if each.get("ds") is not None]
    place = _times if stamps else _numbers
    marks: list[Mark] = []
    x = place([each["ds"] for each in seen])
    if seen:
        marks.append(Points(x, ["came"] * len(seen), "events", "ink", "tick", 8))
        last = seen[-1]
        expected = f"next: {last['mark']}" if last.get("mark") else "next"
        columns = [str(key) for key in facts.get("columns") or [] if _number(last.get(key)) is not None]
        if len(columns) > 1:
            ends = [_ahead(x[-1], float(last[key]), unit, stamps) for key in (columns[0], columns[-1])]
            words = f"next, {_percent(columns[0])} to {_percent(columns[-1])} %"
            marks.append(Stroke(np.array(ends), [expected] * 2, words, "model", width=3))
        if last.get("next") is not None and len(at := place([last["next"]])):
            marks.append(Points(at, [expected], "next, median", "model", "ring", 9))
        marks.append(Rule(x[-1]))
    across = Axis("time", "time") if stamps else Axis(f"time ({unit}s)" if unit else "time")
    return Panel(tuple(marks), across, Axis("", "category"), height=2.2)


def _classes(kept: Kept, facts: dict[str, Any], steps: int, channel: str) -> Panel:
    seen = kept.seen[-steps:]
    x = np.array([_number(each.get("step")) or np.nan for each in seen], np.float64)
    now = list(seen[-1]["classes"]) if seen else []
    marks: list[Mark] = []
    for k, name in enumerate(now[: len(ROLES)]):
        y = np.array([_number(each["classes"].get(name)) for each in seen], np.float64)
        marks.append(Stroke(x, y, str(name), ROLES[k], STROKES[k % len(STROKES)], 1.8 if k == 0 else 1.2))
    up = Axis("probability", percent=True, range=(0, 1))
    return Panel(tuple(marks), Axis("step", whole=True), up, height=2.4)


def _times(words: Any) -> np.ndarray:
    """(n,) the clock times of stamps, in the zone in which they are written; NaT for what is none."""
    found: list[datetime | None] = []
    for word in words:
        try:
            found.append(datetime.fromisoformat(str(word)).replace(tzinfo=None))
        except ValueError:
            found.append(None)
    return np.array(found, "datetime64[us]")


def _joined(lines: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Several lines as one with gaps: drawn at once."""
    times = [np.append(at, at[-1:]) for at, _ in lines]
    return np.concatenate(times), np.concatenate([np.append(values, np.nan) for _, values in lines])


def _broken(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With a value that is none wherever steps are missing: a line across them would be invented."""
    if len(times) < 3:
        return times, values
    apart = np.diff(times).astype(np.float64)
    holes = np.flatnonzero(apart > 1.9 * np.nanmedian(apart)) + 1
    return np.insert(times, holes, times[holes - 1]), np.insert(values, holes, np.nan)


def _numbers(words: Any) -> np.ndarray:
    return np.array([_number(word) for word in words], np.float64)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _one(value: Any, channel: str) -> float:
    """A reading of one channel; NaN where nothing was observed."""
    found = _number(value.get(channel) if isinstance(value, dict) else value)
    return np.nan if found is None else found


def _of(values: Any, channel: str) -> np.ndarray:
    """(H,) of one channel."""
    held = values.get(channel) if isinstance(values, dict) else values
    return _numbers(held if isinstance(held, list) else [])


def _ahead(at: Any, gap: float, unit: str, stamps: bool) -> Any:
    """A gap after a time."""
    if not stamps:
        return at + gap
    return at + np.timedelta64(int(min(gap * SECONDS.get(unit, 1), 1e11) * 1e6), "us")


def _percent(column: str) -> str:
    """`q05` -> 5, `q97.5` -> 97.5"""
    try:
        return f"{float(column.removeprefix('q')):g}"
    except ValueError:
        return column
