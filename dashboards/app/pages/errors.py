"""Errors: where, when and how far a model errs."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/errors", "Errors", "Where, when and how far a model errs.", render)
