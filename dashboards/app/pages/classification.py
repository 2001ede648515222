"""Classes: which class is taken for which, and how surely."""

from forecast.dashboards.app.page import Node, Page, View


def render(view: View) -> Node:
    """What stands below the heading."""
    return "not built yet"


PAGE = Page("/classification", "Classes", "Which class is taken for which, and how surely.", render)
