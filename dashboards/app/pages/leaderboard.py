"""Leaderboard: which model forecasts which data best, beside the naive forecasts."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/", "Leaderboard", "Which model forecasts which data best, beside the naive forecasts.", render)
