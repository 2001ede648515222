"""Run: how one run learnt, what it was made of, how to make it again."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/run", "Run", "How one run learnt, what it was made of, how to make it again.", render)
