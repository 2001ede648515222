"""A tree of plain elements as one text, for the browser to build by itself.

Dash spends some two milliseconds on each component, and a table of fifty rows has two thousand. What only shows needs
none: assets/page.js makes the elements from this text, as elements and text, never as HTML.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from dash import dcc
from dash.development.base_component import Component

TAGS: Final = frozenset(
    [
        "Table",
        "Caption",
        "Thead",
        "Tbody",
        "Tr",
        "Th",
        "Td",
        "Span",
        "Strong",
        "Small",
        "Em",
        "Code",
        "A",
        "Br",
        "Sub",
        "Sup",
        "Abbr",
        "Meter",
        "Progress",
        "Time",
    ]
)
NAMES: Final = {"className": "class", "tabIndex": "tabindex", "colSpan": "colspan", "rowSpan": "rowspan"}


class _Heavy(Exception):
    """There is something in it that Dash must know of."""


def light(node: Component) -> str | None:
    """The tree as JSON, each element a list [tag, attributes, children]; None where Dash itself has to draw it."""
    try:
        return json.dumps(_part(node), ensure_ascii=False, separators=(",", ":"))
    except _Heavy:
        return None


def _part(node: Any) -> Any:
    if node is None:
        return ""
    if isinstance(node, list | tuple):
        return ["", {}, [_part(each) for each in node]]
    if not isinstance(node, Component):
        return str(node)
    held = node.to_plotly_json()
    props = dict(held["props"])
    children = props.pop("children", None)
    if isinstance(node, dcc.Link):
        return ["a", {**_attributes(props), "data-in": ""}, _children(children)]
    if held["namespace"] != "dash_html_components" or held["type"] not in TAGS:
        raise _Heavy
    return [held["type"].lower(), _attributes(props), _children(children)]


def _children(children: Any) -> list[Any]:
    return [_part(each) for each in children] if isinstance(children, list | tuple) else [_part(children)]


def _attributes(props: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in props.items():
        if key == "id" or key == "n_clicks":
            raise _Heavy
        if value is None or value == "":
            continue
        if key == "style":
            value = ";".join(f"{name}:{word}" for name, word in value.items())
        found[NAMES.get(key, key)] = str(value)
    return found
