"""Every error a user can meet, as one line: what was found, what was expected, what to do.

    ForecastError
    ├── UsageError      2   a verb, key or value on the command line or in a config
    ├── DataError       3   a file, a column, a row
    ├── ArtifactError   4   a run folder: missing, foreign, damaged
    └── RunError        5   the run itself failed

Anything else that reaches the top is a defect of ours. Ctrl-C ends with 130.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ForecastError(Exception):
    """Base of all user-facing errors; `code` is the exit status of the process."""

    code = 5

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__("; ".join(part for part in (found, expected, do) if part))


class UsageError(ForecastError):
    code = 2


class DataError(ForecastError):
    code = 3


class ArtifactError(ForecastError):
    code = 4


class RunError(ForecastError):
    code = 5


def nearest(word: str, choices: Iterable[str], *, most: int = 3) -> str:
    """'did you mean …?' for a mistyped word, or the choices themselves where none is near."""
    choices = sorted(set(choices))
    close = get_close_matches(word, choices, n=most, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose one of: {', '.join(choices)}" if choices else "there is nothing to choose from"
