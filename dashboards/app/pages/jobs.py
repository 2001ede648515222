"""Jobs: what batch jobs have written, and what they set aside."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/jobs", "Jobs", "What batch jobs have written, and what they set aside.", render)
