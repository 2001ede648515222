"""What a model looked at, as a section of its report; no section where the run wrote nothing on it."""

from forecast.dashboards.frame import Sections, grid
from forecast.dashboards.insight.figures import report_figures
from forecast.dashboards.load import Run


def looked(run: Run) -> Sections:
    """id → title and parts, to stand among the sections of a report."""
    drawn = {chart.name: chart for chart in report_figures(run)}
    return {"insight": ("What it looked at", [grid(drawn, *drawn)])} if drawn else {}
