"""A fault of the table: how it is made, the command, the whole line that is printed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Maker = Callable[[Path], None]
ANY = "<any>"  # words of a library, which may change
CHECK = "data check f.csv"
# A small series of the user's own, and windows that fit it.
TRAIN = "train experiment=smoke data=series data.path=f.csv task.context=12 task.horizon=3"


def nothing(folder: Path) -> None:
    """No file at all."""


@dataclass(frozen=True)
class Case:
    """`line` is printed after `forecast: `, with {here} for the folder and → before what to do."""

    when: str  # the fault in words; unique, the name of the test
    site: str  # where it is raised, see sites.py
    make: Maker
    line: str
    words: str = CHECK  # the command; a quoted word may hold blanks
    code: int = 3
    run: bool = False  # needs the finished run, which is copied to `run` in the folder
    also: tuple[str, ...] = ()  # sites of the same error on its way up

    def printed(self, folder: Path | str) -> str:
        """The line as it must be; ANY stands for any words."""
        return "forecast: " + self.line.replace("{here}", str(folder)).replace(" → ", "; ")

    def pattern(self, folder: Path) -> "re.Pattern[str]":
        return re.compile(".+".join(re.escape(part) for part in self.printed(folder).split(ANY)))
