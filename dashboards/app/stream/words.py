"""How a stream is, in words: the figures above its charts, and what is said when it cannot be heard."""

import math
from collections.abc import Sequence
from typing import Any, Final

from forecast.dashboards.app.stream.client import Told
from forecast.dashboards.app.stream.ring import Kept
from forecast.dashboards.charts.style import count, duration, number

OLD_S: Final = 5.0  # after which figures are said to be old
BAD: Final = ("unreadable", "implausible", "off the grid", "gap", "too long", "not begun")
TILES: Final = (  # key, label, unit or a few words
    ("updates", "Updates", "per s"),
    ("drawn", "Drawn", "per s"),
    ("readings", "All readings", "per s"),
    ("p50", "Requests, p50", "ms"),
    ("p95", "p95", "ms"),
    ("p99", "p99", "ms"),
    ("lag", "Latest reading", "ago"),
    ("queue", "Requests that wait", ""),
    ("late", "Late", ""),
    ("duplicate", "Duplicate", ""),
    ("bad", "Bad", ""),
    ("series", "Series", ""),
    ("state", "States", ""),
)  # fmt: skip


def figures(told: Told, kept: Sequence[Kept]) -> dict[str, str]:
    """The text of each tile but `drawn`, which the browser counts."""
    facts, counts = told.facts, told.facts.get("counts")
    counts = counts if isinstance(counts, dict) else {}
    known = bool(facts)
    return {
        "updates": _rate(sum(each.rate for each in kept)),
        "readings": _rate(facts.get("readings_per_s")),
        **{key: number(facts.get(f"{key}_ms"), 3) for key in ("p50", "p95", "p99")},
        "lag": _lag(facts.get("lag_s")),
        "queue": _count(facts.get("queue")),
        "late": _count(counts.get("late", 0)) if known else "–",
        "duplicate": _count(counts.get("duplicate", 0)) if known else "–",
        "bad": _count(sum(n for key in BAD if isinstance(n := counts.get(key, 0), int))) if known else "–",
        "series": _count(facts.get("series")),
        "state": _bytes(facts.get("state_bytes")),
    }


def banner(told: Told, url: str) -> tuple[str, str]:
    """What is said above all, and its tone: alarm, note, or nothing."""
    missed = f" {told.gone:,d} lines of the stream could no longer be heard." if told.gone else ""
    anew = " It was begun anew, and what was drawn before is gone." if told.restarts else ""
    match told.state:
        case "lost":
            since = f"for {duration(round(told.since_s))}" if told.since_s >= 1 else "just now"
            return f"The stream at {url} is not heard: {told.words} ({since}). Trying again.{missed}", "alarm"
        case "refused":
            return f"The stream at {url} refuses: {told.words}. Trying again.", "alarm"
        case "live" if told.age_s is not None and told.age_s > OLD_S:
            return f"The figures are {duration(round(told.age_s))} old: the stream does not say how it is.", "alarm"
        case "live" if missed or anew:
            return (missed + anew).strip(), "note"
    return "", ""


def _rate(value: Any) -> str:
    return "–" if not isinstance(value, int | float) else "0" if value == 0 else number(float(value), 3)


def _count(value: Any) -> str:
    return count(value) if isinstance(value, int) else "–"


def _bytes(value: Any) -> str:
    if not isinstance(value, int):
        return "–"
    size = float(value)
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{number(size, 3) if unit != 'B' else value} {unit}"
        size /= 1024
    return f"{number(size, 3)} GiB"


def _lag(value: Any) -> str:
    """`1.2 s`, `3 d`; what is ahead of the clock has a minus."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    size, sign = abs(float(value)), "−" if value < -0.5 else ""
    if size >= 2 * 86400:
        return f"{sign}{round(size / 86400):,d} d"
    return f"{sign}{duration(size if size < 10 else round(size))}"
