"""What the output of a batch job says of itself, for whoever reads it: names of files, shards done, reasons, states.

    OUTPUT/_manifest.jsonl    a JSON object a line: the job, its input files, each shard that is done, how it ended
    OUTPUT/quarantine/        why series have no forecast, parquet
    OUTPUT/_SUCCESS           there only while the output is all of what the last job said it would be

`jobs/manifest.py` writes it; a line that a kill has torn is left out by every reader. Nothing here needs torch.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

NAME: Final = "_manifest.jsonl"
SUCCESS: Final = "_SUCCESS"
QUARANTINE: Final = "quarantine"  # the folder below the output
LOCKS: Final = Path("/proc/locks")

FORECAST: Final = "forecast"
FALLBACK: Final = "fallback"
QUARANTINED: Final = "quarantined"
STATUSES: Final = (FORECAST, FALLBACK, QUARANTINED)  # what became of a series
CORRUPT: Final = "file_corrupt"

REASONS: Final[dict[str, str]] = {  # why a series has no forecast → what to do
    "no_id": "give every row the name of its series",
    "parse_error": "write stamps like 2024-01-31 13:00 and numbers with a decimal point, or leave the cell empty",
    "bad_freq": "resample the series to the step of the training, or correct the stamp",
    "duplicate_ds": "drop or average all but one of the rows of a stamp",
    "non_finite": "correct the value, or leave the cell empty if nothing was measured",
    "no_value": "give the history of the series, or leave it out",
    "short": "give a longer history, or train with data.gaps=mask data.min_context=1",
    "gap": "give a value for every step, or train with data.gaps=fill or data.gaps=mask",
    "unknown_static": "give each series one value in every static column",
    "missing_known": "give the covariates that are known ahead for every step to forecast, in rows after the end",
    "after_now": "leave out what came after now, or give a later now",
    "invalid": "do what the detail says",
}
OF_FILES: Final[dict[str, str]] = {CORRUPT: "repair the file, or leave it out"}


class Done(NamedTuple):
    """What became of a shard; plain values, a line of the manifest."""

    number: int
    key: str
    part: str | None  # the file of forecasts, below the output; None: no row could be read
    quarantine: str | None  # the file of refused series; None: there are none
    sizes: tuple[int, ...]  # bytes of those files
    rows_in: int
    rows_out: int
    series: int
    status: dict[str, int]  # forecast, fallback, quarantined → series
    reasons: dict[str, int]  # why: code → series
    corrupt: tuple[str, ...]  # files that could not be read, or not to their end; other shards may name them too
    seconds: float


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest, without those that are torn."""
    found = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                found.append(line)
    return found


def files(made: Done) -> list[str]:
    return [name for name in (made.part, made.quarantine) if name is not None]


def done_of(line: Mapping[str, Any]) -> Done:
    """A shard of its line; KeyError where the line is another one."""
    facts = {name: line[name] for name in Done._fields}
    return Done(**{**facts, "sizes": tuple(facts["sizes"]), "corrupt": tuple(facts["corrupt"])})


def total(all_done: Iterable[Done]) -> dict[str, Any]:
    """What became of all series; a file that cannot be read counts as one that is quarantined."""
    status: dict[str, int] = {}
    reasons: dict[str, int] = {}
    sums = dict.fromkeys(("rows_in", "rows_out", "series"), 0)
    corrupt = set[str]()
    for made in all_done:
        corrupt |= set(made.corrupt)
        for name in sums:
            sums[name] += getattr(made, name)
        for counts, more in ((status, made.status), (reasons, made.reasons)):
            for key, count in more.items():
                counts[key] = counts.get(key, 0) + count
    if corrupt:
        sums["series"] += len(corrupt)
        status[QUARANTINED] = status.get(QUARANTINED, 0) + len(corrupt)
        reasons[CORRUPT] = len(corrupt)
    return {**sums, "status": dict(sorted(status.items())), "reasons": dict(sorted(reasons.items()))}


def held(folder: Path) -> bool | None:
    """Whether a job on this machine has the folder open for writing; None where the system does not tell.

    Nothing is locked to find out: a job that begins in that moment would be refused. The number of the file system is
    not compared: some tell another one to those who ask for it than to those who look at locks.
    """
    try:
        number, locks = folder.stat().st_ino, LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return any(f":{number} " in line and " WRITE " in line for line in locks.splitlines())
