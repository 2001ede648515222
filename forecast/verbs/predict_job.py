"""forecast predict with an output that is a folder: a job; docs/batch.md. Nothing of torch is loaded here."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from forecast.artifacts import Run
from forecast.errors import DataError, ForecastError, UsageError
from forecast.jobs.batch import Batch, Work, described
from forecast.jobs.engine import engine
from forecast.jobs.job import job_of, kind_of
from forecast.jobs.plan import Limits
from forecast.jobs.types import Engine
from forecast.ledger import FORECAST, Done
from forecast.verbs.checks import FOREIGN, levels_of, meaningless, run_of

ONE_FILE: Final = ("covariates", "paths", "adapt", "hierarchy", "reconcile", "window", "events", "hazard")
# Keys that say nothing of a run of another task.
OTHERS: Final = {
    "forecast": ("now",),
    "event": ("short", "horizon"),
    "classify": ("levels", "short", "now", "horizon"),
}


def predict_job(asked: Mapping[str, Any]) -> None:
    """Plan, do what is not done, and say so; DataError (exit code 3) where too many series are bad, after all is
    written."""
    limits, share = checked(asked)
    (run, version), levels = versioned(asked), levels_of(asked["levels"])
    meaningless(asked, ONE_FILE, "an output that is a folder", "it is about one file")
    meaningless(asked, OTHERS[kind_of(run)], f"a run of task={kind_of(run)}", "it is about another task")
    job, digest = job_of(run, asked, levels, version)
    workers = engine(asked["engine"])
    said = Said(asked["progress"])
    batch = Batch(job, digest, Path(asked["input"]).expanduser(), limits, said.note)
    if batch.others:
        said.note(f"{batch.others:,} files of other endings are passed over")
    if asked["dry_run"]:
        lines = described(batch.plan, limits)
        if count := batch.unchanged():
            lines.append(f"{count:,} of them are done and unchanged")
        sys.stdout.write("\n".join([*lines, "nothing was written: dry_run"]) + "\n")
        return
    with closing(batch):
        work = batch.begin(asked["overwrite"], asked["engine"]["kind"])
        try:
            facts = _worked(batch, work, workers, said, job.kind)
        except ForecastError as fault:
            batch.fault(str(fault))
            raise
        except KeyboardInterrupt:
            batch.fault("interrupted (Ctrl-C)")
            raise
    said.end(job.output, job.model, facts, work)
    bad = facts["series"] - facts["status"].get(FORECAST, 0)
    if bad > share * facts["series"]:
        raise DataError(
            f"{bad:,} of {facts['series']:,} series are bad ({bad / facts['series']:.1%})",
            f"expected at most max_bad_fraction={share:g}", f"the output is complete; see {job.output}/quarantine",
        )  # fmt: skip


def _worked(batch: Batch, work: Work, workers: Engine, said: "Said", kind: str) -> dict[str, Any]:
    """Do what is not done; what became of all series."""
    said.begin(work)
    made = []
    with closing(batch.run(work, workers)) as running:
        for done in running:
            made.append(done)
            said.shard(done, kind)
    return batch.finish(work, made)


def versioned(asked: Mapping[str, Any]) -> tuple[Run, str | None]:
    """The run that is named, and its version where MLflow keeps it."""
    if not asked["run"].startswith(FOREIGN):
        return run_of(asked), None
    from forecast.store import registered

    found = registered(asked["run"], None, Path(asked["runs"]) / "models")
    return found.run, str(found.version)


def checked(asked: Mapping[str, Any]) -> tuple[Limits, float]:
    """The sizes of shards and the share of bad series, within what they may be."""
    for key in ("shard_rows", "shard_bytes", "batch_size"):
        if asked[key] is not None and asked[key] < 1:
            raise UsageError(f"{key} is {asked[key]}", "expected at least 1")
    share = float(asked["max_bad_fraction"])
    if not 0 <= share <= 1:
        raise UsageError(f"max_bad_fraction is {share:g}", "expected a share, 0 to 1")
    return Limits(asked["shard_rows"], asked["shard_bytes"]), share


class Said:
    """What a person, or a program, hears of a job while it is at work: stderr."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.began = time.monotonic()
        self.done = self.rows = self.series = 0
        self.of = self.of_rows = 0

    def note(self, text: str) -> None:
        if self.how == "json":
            self._json(event="note", text=text)
        else:
            sys.stderr.write(f"{text}\n")

    def begin(self, work: Work) -> None:
        self.began = time.monotonic()
        self.of, self.of_rows = len(work.todo), sum(max(shard.rows, 1) for shard in work.todo)
        self.weights = {shard.number: max(shard.rows, 1) for shard in work.todo}
        if self.how == "json":
            self._json(event="begin", shards=len(work.shards), unchanged=len(work.kept))
        elif work.kept and self.how == "text":
            self.note(f"{len(work.kept):,} of {len(work.shards):,} shards are done and unchanged")

    def shard(self, done: Done, kind: str) -> None:
        """One line for each shard."""
        self.done += 1
        self.series += done.series
        self.rows += self.weights[done.number]
        seconds = time.monotonic() - self.began
        rate, left = self.series / max(seconds, 1e-9), seconds * (self.of_rows / self.rows - 1)
        if self.how == "json":
            facts = done._asdict()
            self._json(
                event="shard", done=self.done, of=self.of, series_per_s=round(rate, 1), eta_s=round(left, 1), **facts
            )
        elif self.how == "text":
            counts = ", ".join(f"{count:,} {word}" for word, count in done.status.items())
            counts += f"{', ' if counts else ''}{len(done.corrupt):,} files not read" if done.corrupt else ""
            sys.stderr.write(
                f"shard {self.done:,}/{self.of:,}: {counts or 'nothing'}; {done.seconds:.1f} s; {rate:,.0f} series/s; "
                f"{left:,.0f} s left\n"
            )
        sys.stderr.flush()

    def end(self, output: str, model: str, facts: Mapping[str, Any], work: Work) -> None:
        seconds = time.monotonic() - self.began
        if self.how == "json":
            self._json(event="end", seconds=round(seconds, 3), **facts)
        counts = ", ".join(f"{count:,} {word}" for word, count in facts["status"].items() if count)
        why = ", ".join(f"{count:,} {code}" for code, count in facts["reasons"].items())
        sys.stdout.write(
            f"{output}: {facts['series']:,} series by {model}: {counts}{f' ({why})' if why else ''}; "
            f"{facts['rows_out']:,} rows in {len(work.shards):,} parts"
            f"{f', {len(work.kept):,} of them from before' if work.kept else ''}; {seconds:.1f} s\n"
        )

    def _json(self, **facts: Any) -> None:
        sys.stderr.write(json.dumps(facts) + "\n")
