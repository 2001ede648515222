"""Forecasts: forecasts beside what came, series by series."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/explorer", "Forecasts", "Forecasts beside what came, series by series.", render)
