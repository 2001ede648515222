"""Events: when the next event was expected, and which."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/events", "Events", "When the next event was expected, and which.", render)
