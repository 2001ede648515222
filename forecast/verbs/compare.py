"""forecast evaluate compare=…: a leaderboard of finished runs, on the terminal and as Markdown, CSV and HTML."""

import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.artifacts import Run, atomic
from forecast.errors import ArtifactError, UsageError, nearest
from forecast.verbs.tables import table

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from forecast.dashboards.boards.text import Table
    from forecast.dashboards.load import Run as Record

log = logging.getLogger("forecast")
OF_COMPARE = ("compare", "output", "runs")  # the keys of forecast evaluate that mean something with compare=
SHOWN = 8  # columns on a terminal; the files have all
KINDS = {"series": "series", "events": "events", "classes": "classification"}
CHECKED = ("config.json", "data.json", "env.json", "metrics.json")


def compare(cfg: "DictConfig", overrides: list[str]) -> None:
    """Find the runs, write their leaderboard, print it."""
    from forecast import config as schema
    from forecast.dashboards import load
    from forecast.dashboards.boards import text as board_text

    for key in (override.lstrip("+~").partition("=")[0] for override in overrides):
        if key not in OF_COMPARE:
            expected = f"expected no key but {', '.join(OF_COMPARE)}"
            raise UsageError(f"{key}= with compare=", expected, f"leave {key} out, or compare")
    asked: dict[str, Any] = schema.plain(cfg)
    wanted = [str(word) for word in asked["compare"]] if isinstance(asked["compare"], list) else [str(asked["compare"])]
    runs = chosen(wanted, Path(asked["runs"]).expanduser())
    tables, text, how = _tables([load.read(run.path) for run in runs])
    title = ", ".join(wanted)
    place = Path(
        asked["output"] or Path(asked["runs"]) / "compare" / (re.sub(r"[^\w.-]+", "-", title).strip("-.") or "all")
    )
    place = place.expanduser()
    heading = "All finished runs" if title == "all" else title
    texts = {"leaderboard.md": board_text.markdown(heading, how, tables), "leaderboard.csv": text,
             "leaderboard.html": board_text.html(heading, how, tables)}  # fmt: skip
    try:
        for name, content in texts.items():
            with atomic(place / name) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}", do="name another folder: output=") from error
    for each in tables:
        rows = [[first, *rest[:SHOWN]] for first, rest in each.rows]
        sys.stdout.write(f"{each.title}: {each.facts}\n\n{table(('', *each.titles[:SHOWN]), rows)}\n\n")
        sys.stdout.write("".join(f"{line}\n" for line in each.notes) + ("\n" if each.notes else ""))
    sys.stdout.write(f"{how}\n\nleaderboard  {place}/leaderboard.md, .csv, .html\n")


def _tables(runs: "Sequence[Record]") -> "tuple[list[Table], str, str]":
    """The tables, the same as CSV, and how they are to be read; series, events and classes have no score in common."""
    from forecast.dashboards.boards import classes as class_board
    from forecast.dashboards.boards import classes_page as class_board_page
    from forecast.dashboards.boards import events as event_board
    from forecast.dashboards.boards import events_page as event_board_page
    from forecast.dashboards.boards import series as board
    from forecast.dashboards.boards import series_page as board_page

    kinds = Counter(run.kind for run in runs)
    if len(kinds) > 1:
        found = [f"{n} of {KINDS[kind]}" for kind, n in sorted(kinds.items())]
        raise UsageError(
            f"the {len(runs)} runs are {', '.join(found[:-1])} and {found[-1]}", "expected runs of one task",
            "name fewer: compare=EXPERIMENT, a sweep, or runs",
        )  # fmt: skip
    if kinds["events"]:
        events = event_board.groups(runs)
        return event_board_page.tables(events), event_board_page.table_csv(events), event_board_page.HOW
    if kinds["classes"]:
        classes = class_board.groups(runs)
        return class_board_page.tables(classes), class_board_page.table_csv(classes), class_board_page.HOW
    series = board.groups(runs)
    return board_page.tables(series), board_page.table_csv(series), board_page.HOW


def chosen(wanted: Sequence[str], runs: Path) -> list[Run]:
    """The finished runs that one of `wanted` names; every file that is compared is what the run wrote."""
    patterns = [_pattern(word, runs) for word in wanted]
    found, unfinished, known = [], 0, set()
    folder = runs / "train"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        run = Run(path.resolve())
        if not (path / "config.json").is_file():
            continue
        own = names(run)
        known |= own
        if any(fnmatchcase(name, pattern) for name in own for pattern in patterns):
            unfinished += not run.sealed
            found += [run] if run.sealed else []
    if not found:
        what = "is named" if not unfinished else "is finished of those named"
        expected = "expected a sweep, an experiment, or the name or id of runs; * stands for anything"
        raise ArtifactError(f"no run in {folder} {what} {', '.join(wanted)}", expected, nearest(wanted[0], known))
    if unfinished:
        sys.stderr.write(f"forecast: {unfinished} unfinished run{'s' * (unfinished != 1)} left out\n")
    for run in found:
        for name in (*CHECKED, *(["predictions.parquet"] if "predictions.parquet" in run.manifest() else [])):
            run.checked(name)
    return found


def names(run: Run) -> set[str]:
    """What a run is called: its id, its name, its MLflow experiment, the sweep that started it."""
    config, env = (run.read(name) if (run.path / name).is_file() else {} for name in ("config.json", "env.json"))
    data = config.get("data") or {}
    task = (config.get("task") or {}).get("name", "forecast")
    dataset = data.get("card") or ("hawkes" if data.get("hawkes") else Path(str(data.get("path"))).stem)
    experiment = (config.get("track") or {}).get("experiment") or f"{task}/{dataset}"
    sweep = str(env.get("sweep") or "").partition("/")[0]
    return {name for name in (run.id, config.get("name"), experiment, sweep) if name}


def _pattern(word: str, runs: Path) -> str:
    """The name that a word stands for: that of a folder, of the newest sweep, or itself."""
    if word == "latest":
        sweeps = sorted(path.name for path in (runs / "sweep").iterdir()) if (runs / "sweep").is_dir() else []
        return sweeps[-1] if sweeps else word
    if word == "all":
        return "*"
    return Path(word).resolve().name if Path(word).is_dir() and any(Path(word).glob("*.json")) else word
