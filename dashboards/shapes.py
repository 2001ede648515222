"""What kind of value each fact in metrics.json is; a fact of another kind is a damage, said in one line."""

from collections.abc import Mapping
from typing import Any, Final

NUMBER: Final = (int, float)
KINDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("task", "dataset", "model", "part", "unit", "stopped"), (str,)),
    **dict.fromkeys(("seed", "channels", "context", "season", "parameters", "epochs"), NUMBER),
    **dict.fromkeys(("grid", "temperature"), NUMBER),
    **dict.fromkeys(("rows", "classes", "marks", "confusion", "per_class", "reliability", "early"), (list,)),
    **dict.fromkeys(("windows", "series", "counts", "lengths", "sequences", "events", "best"), (dict,)),
    **dict.fromkeys(("seconds", "memory", "stream", "intervals", "metatpp", "baselines"), (dict,)),
}  # fmt: skip
NAMES: Final = {str: "text", int: "a number", list: "a list", dict: "an object"}


def odd(metrics: Mapping[str, Any]) -> str:
    """`windows holds a str, expected an object`; empty where every fact is what a run writes, or null."""
    kinds = {**KINDS, "horizon": (dict,) if metrics.get("task") == "event" else NUMBER}
    for key, kind in kinds.items():
        value = metrics.get(key)
        if value is not None and not isinstance(value, kind):
            return f"{key} holds a {type(value).__name__}, expected {NAMES[kind[0]]}"
    rows = metrics.get("rows") or []
    if any(not isinstance(row, dict) for row in rows):
        return "rows holds what is no object"
    return ""
