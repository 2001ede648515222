"""What tests of pages do and ask for: go there, wait until all is drawn, listen to axe, look for what sticks out."""

import time
from typing import NamedTuple

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from forecast.dashboards.app.page import address
from forecast.dashboards.app.sources import Sources

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RULES = {"runOnly": {"type": "tag", "values": TAGS}}


class Site(NamedTuple):
    url: str
    sources: Sources


def shown(page: Page, site: Site, path: str, **query: object) -> str:
    """Go to a page and wait until it is drawn, its charts too; the text of its content."""
    page.goto(site.url + address(path, **query), wait_until="commit")
    return drawn(page)


def drawn(page: Page) -> str:
    """Wait until the page is drawn: its heading is there, nothing is on its way, every chart has its lines."""
    page.wait_for_selector("#content h1")
    page.wait_for_function(DRAWN)
    return page.inner_text("#content")


DRAWN = """() => !document.querySelector('[data-dash-is-loading=true]')
  && [...document.querySelectorAll('.dash-graph')].every((each) => each.querySelector('.main-svg'))"""


def faults(page: Page) -> list[str]:
    """What axe finds wrong, each with the first element that has it; charts count by the names of their boxes."""
    found = Axe().run(page, context={"exclude": [[".main-svg"]]}, options=RULES).response["violations"]
    return [f"{each['id']} ({len(each['nodes'])}): {each['nodes'][0]['html'][:200]}" for each in found]


def too_wide(page: Page) -> list[str]:
    """Elements that make the page itself scroll sideways; what lies in a box that scrolls is no fault. Charts are given
    some time to follow a window that was made narrower."""
    stop = time.monotonic() + 5
    while (found := list(page.evaluate(WIDE))) and time.monotonic() < stop:
        page.wait_for_timeout(100)
    return found


WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const boxed = (e) => { for (let up = e.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== 'visible') return true; return false; };
  return [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > width + 1 && !boxed(e)).slice(0, 5)
    .map((e) => e.outerHTML.slice(0, 160));
}"""
