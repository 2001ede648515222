"""Live: what a stream does now."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/live", "Live", "What a stream does now.", render)
