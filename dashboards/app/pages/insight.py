"""Insight: what a model looked at."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/insight", "Insight", "What a model looked at.", render)
