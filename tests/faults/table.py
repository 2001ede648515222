"""docs/messages.md from the cases: `python -m tests.faults.table` writes it."""

import re
from pathlib import Path

from . import backtests, classify, events, files, jobs, labelled, others, runs, tables, usage
from .case import ANY, Case
from .elsewhere import ELSEWHERE
from .sites import ROOT, Site, resolve

CASES: list[Case] = [
    *usage.CASES,
    *files.CASES,
    *tables.CASES,
    *others.CASES,
    *events.CASES,
    *labelled.CASES,
    *classify.CASES,
    *jobs.CASES,
    *backtests.CASES,
    *runs.CASES,
]
PAGE = ROOT / "docs" / "messages.md"
HEAD = """\
# Messages

What goes wrong is said in one line on stderr, `forecast: FOUND; EXPECTED; WHAT TO DO`, before training starts and with nothing
left behind; the exit code says whose fault it is. Below is every message, as it is printed for the fault beside it (`…` stands for
words of the system or of a library; paths are shortened). The first table of an exit code holds what a command line can provoke;
run its test with `pytest tests/faults -k NAME`. `FORECAST_TRACEBACK=1` adds the traceback.

This page is written by `python -m tests.faults.table`.
"""
TITLES = {
    2: ("A verb, a key or a value", "The command line or the config asks for something that is not there. Nothing was read or written."),
    3: ("The data", "A file, a column or a row cannot be used. Rows are counted from 1 at the first row of data."),
    4: ("A run folder", "It is missing, unfinished, of another program or damaged. Nothing of it was used."),
    5: ("The run failed", "Training began and could not go on. Any other error with this code is a defect of forecast, and says so."),
}  # fmt: skip


def slug(case: Case) -> str:
    """The name of a case's test."""
    return re.sub(r"[^a-z0-9]+", "-", case.when.lower()).strip("-")


def cell(text: str) -> str:
    """Text for a cell of a Markdown table, as code where it is a message."""
    return text.replace(ANY, "…").replace("{here}/", "").replace("|", "\\|")


def code(text: str) -> str:
    if not text:
        return ""
    ticks = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{cell(text)}{pad}{ticks}"


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    others: dict[int, list[tuple[Site, str]]] = {}
    for name, test in ELSEWHERE.items():
        site = resolve(name)
        others.setdefault(site.code, []).append((site, test))
    for number, (title, about) in TITLES.items():
        parts.append(f"## {number}: {title}\n\n{about}\n")
        if mine := [case for case in CASES if case.code == number]:
            lines = ["| the fault | the line | what to do | test |", "|---|---|---|---|"]
            for case in mine:
                said, _, do = case.line.partition(" → ")
                lines.append(f"| {cell(case.when)} | {code(said)} | {code(do)} | {slug(case)} |")
            parts.append("\n".join(lines) + "\n")
        if rest := others.get(number):
            lines = ["| a line with what is filled in left out | test |", "|---|---|"]
            lines += [f"| {code(site.message)} | {test} |" for site, test in rest]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(PAGE).write_text(render(), encoding="utf-8")
