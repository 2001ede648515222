"""Every error a user can meet, as one line: what was found, what was expected, what to do.

    ForecastError
    ├── UsageError      2   a verb, key or value on the command line or in a config
    ├── DataError       3   a file, a column, a row
    ├── ArtifactError   4   a run folder: missing, foreign, damaged
    └── RunError        5   the run itself failed

Anything else that reaches the top is a defect of ours. Ctrl-C ends with 130.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class ForecastError(Exception):
    """Base of all user-facing errors; `code` is the exit status of the process."""

    code = 5

    def __init__(self, found: str, expected: str = "", do: str = "", *, reason: str = "") -> None:
        """`reason`: what is wrong with one series, a code of inference/reasons.py."""
        self.found, self.expected, self.do, self.reason = found, expected, do, reason
        super().__init__("; ".join(part for part in (found, expected, do) if part))


class UsageError(ForecastError):
    code = 2


class DataError(ForecastError):
    code = 3


class ArtifactError(ForecastError):
    code = 4


class RunError(ForecastError):
    code = 5


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's, torch's on a GPU, or torch's on a CPU, which has no class of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")
    )


@contextmanager
def fits_in_memory(key: str, size: int, also: str = "") -> Iterator[None]:
    """What runs out of memory inside is a RunError that names a smaller batch: `key` is now `size`."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        smaller = f"try {key}={size // 2}{also}" if size > 1 else "try a smaller task.context or model.d_model"
        raise RunError(f"out of memory with {key}={size}", do=smaller) from error


def nearest(word: str, choices: Iterable[str], *, most: int = 3) -> str:
    """'did you mean …?' for a mistyped word, or the choices themselves where none is near."""
    choices = sorted(set(choices))
    close = get_close_matches(word, choices, n=most, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose one of: {', '.join(choices)}" if choices else "there is nothing to choose from"
