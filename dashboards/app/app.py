"""The application: a menu, one page at a time, the theme."""

from forecast.dashboards.app.page import Page
from forecast.dashboards.app.pages import (
    classification,
    errors,
    events,
    explorer,
    insight,
    jobs,
    leaderboard,
    live,
    run,
)

PAGES: tuple[Page, ...] = tuple(
    module.PAGE for module in (leaderboard, run, explorer, errors, insight, events, classification, live, jobs)
)
