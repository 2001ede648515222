"""A job from its input to _SUCCESS: what is done already is left, what is new or has changed is done."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from forecast.errors import RunError, UsageError
from forecast.jobs.files import File, digested, find, line
from forecast.jobs.manifest import Output, now, row
from forecast.jobs.plan import Limits, Plan, keyed, plan, settings, sha
from forecast.jobs.source import parquet
from forecast.jobs.spread import WORK, spread
from forecast.jobs.types import Engine, Job, Piece, Shard
from forecast.ledger import CORRUPT, NAME, Done, total

Tell = Callable[[str], object]


class Work(NamedTuple):
    """What a job has to do."""

    shards: list[Shard]  # all of them, numbered
    kept: list[Done]  # those that are done already
    todo: list[Shard]
    rows: int | None  # of the input, where that is known for certain


class Batch:
    """A job on an input. Nothing is written before `begin`."""

    def __init__(self, job: Job, digest: str, source: Path, limits: Limits, tell: Tell) -> None:
        self.job, self.limits, self.tell, self.source, self.engine = job, limits, tell, source, ""
        self.output = Output(Path(job.output))
        apart(source, self.output)
        found = find(source)
        self.others = found.others
        self.plan = plan(found.files, job, limits)
        self.digest, self.config = digest, settings(job, digest, limits)

    def unchanged(self) -> int:
        """Shards that are done as far as sizes and times of files tell; nothing is read."""
        before = {(one["name"], one["size"], one["mtime_ns"]): one["sha256"] for one in self.output.inputs()}
        files = [
            file._replace(sha256=before.get((file.name, file.size, file.mtime_ns), "")) for file in self.plan.files
        ]
        done, names = self.output.done(), {file.path: file for file in files}
        return sum(keyed(shard, names, self.config).key in done for shard in self.plan.shards)

    def begin(self, again: bool = False, engine: str = "") -> Work:
        """Look at the input once more by its digests, and find what is to be done. again: all of it; engine: who
        does it, for the manifest."""
        self.engine = engine
        self.output.open()
        files = digested(self.plan.files, self.output.inputs())
        names = {file.path: file for file in files}
        done = {} if again else self.output.done()
        shards = [keyed(shard, names, self.config) for shard in self.plan.shards]
        scattered, faults = self._scattered(files, done)
        shards = [shard._replace(number=number) for number, shard in enumerate([*shards, *scattered])]
        kept = [done[shard.key] for shard in shards if shard.key in done]
        todo = [shard for shard in shards if shard.key not in done]
        head = [self._head(len(shards), len(todo)), *(line(file) for file in files), *self._buckets(scattered)]
        self.output.begin(head, kept, complete=not todo)
        exact = not self.job.wide and all(parquet(file.path) for file in files) and not faults
        return Work(shards, kept, todo, self.plan.rows if exact else None)

    def _head(self, shards: int, todo: int) -> dict[str, Any]:
        """The line of the job. Where nothing is to be done it stays what it was."""
        same = {"kind": "job", "run": self.job.run_id, "run_sha256": self.digest, "config_sha256": self.config,
                "model": self.job.model, "model_version": self.job.version, "shards": shards}  # fmt: skip
        before = next((line for line in self.output.lines if line.get("kind") == "job"), {})
        if not todo and same.items() <= before.items():
            return before
        return {**same, "started": now(), "input": str(self.source.absolute()), "engine": self.engine, "todo": todo}

    def _key(self, files: Sequence[File]) -> str:
        """The digest of what is spread, and how."""
        assert self.plan.loose is not None
        import polars

        some = [[files[n].name, files[n].sha256] for n in self.plan.loose.files]
        return sha([self.config, some, self.limits, polars.__version__])

    def _scattered(self, files: Sequence[File], done: dict[str, Done]) -> tuple[list[Shard], bool]:
        """The shards of buckets. They are filled only if one of their shards is not done."""
        if self.plan.loose is None:
            return [], False
        self.key = self._key(files)
        for held in self.output.lines:
            if held.get("kind") == "buckets" and held["sha256"] == self.key:
                shards = [Shard(0, key, (), size, rows) for key, rows, size in held["shards"]]
                if all(shard.key in done for shard in shards):
                    return shards, bool(held["faults"])
        loose = self.plan.loose
        weight = max(loose.rows / self.limits.rows, loose.bytes / self.limits.bytes)
        self.tell(
            f"series stand in several files or without order: {loose.rows:,} rows of {len(loose.files):,} files are "
            f"spread into buckets under {self.output.path / WORK}"
        )
        pieces = [Piece(files[n].path, None, files[n].partition) for n in loose.files]
        folder = self.output.path / WORK / self.key[:16]
        made = spread(pieces, weight, self.job, self.limits, folder, self.tell)
        shards = [
            Shard(0, sha([self.key, Path(b.path).name]), (Piece(b.path, ready=True),), b.bytes, b.rows)
            for b in made.buckets
        ]
        if made.faults:
            bad = tuple(piece._replace(fault=made.faults[piece.path]) for piece in pieces if piece.path in made.faults)
            shards.append(Shard(0, sha([self.key, "faults"]), bad, 0, 0))
        return shards, bool(made.faults)

    def _buckets(self, shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        """The line of buckets, so that they need not be filled again to know that all is done."""
        if self.plan.loose is not None:
            faults = any(piece.fault is not None for shard in shards for piece in shard.pieces)
            rows = [[shard.key, shard.rows, shard.bytes] for shard in shards]
            yield {"kind": "buckets", "sha256": self.key, "faults": faults, "shards": rows}

    def run(self, work: Work, engine: Engine) -> Generator[Done]:
        """Do what is to be done; each shard is in the manifest when it is given. Closing it ends all workers."""
        names = {file.path: file.name for file in self.plan.files}
        todo = {shard.key: shard for shard in work.todo}
        try:
            large_first = sorted(work.todo, key=lambda shard: -shard.rows)  # so that all workers end at about one time
            with closing(engine.run(self.job, large_first)) as made:
                for done in made:
                    inputs = [names[piece.path] for piece in todo[done.key].pieces if piece.path in names]
                    self.output.add(
                        row(done, engine=self.engine, inputs=inputs, run=self.digest[:12], config=self.config[:12])
                    )
                    yield done
        finally:
            self.output.stop()

    def finish(self, work: Work, done: Sequence[Done]) -> dict[str, Any]:
        """Check that nothing got lost, say that the output is complete; what became of all series."""
        facts = total([*work.kept, *done])
        lost = CORRUPT in facts["reasons"]
        if sum(facts["status"].values()) != facts["series"] or len(work.kept) + len(done) != len(work.shards):
            raise lost_series(facts["series"], sum(facts["status"].values()), "series")
        if work.rows is not None and not lost and facts["rows_in"] != work.rows:
            raise lost_series(work.rows, facts["rows_in"], "rows")
        self.output.finish({"shards": len(work.shards), **facts})
        return facts

    def fault(self, words: str) -> None:
        """Say in the manifest why the job ended before its end."""
        self.output.fault(words)

    def close(self) -> None:
        self.output.close()


def lost_series(before: int, after: int, what: str) -> RunError:
    return RunError(
        f"{before:,} {what} stood in the input and {after:,} were found", "expected each once",
        "if the input was being written meanwhile, run the same command again; else this is a defect of forecast",
    )  # fmt: skip


def apart(source: Path, output: Output) -> None:
    """The output must not be the input or a part of it, nor a folder with something else."""
    place, inside = output.path.resolve(), source.resolve()
    if source.is_dir() and (place == inside or inside in place.parents):
        raise UsageError(f"{output.path} is in the input", "its files would be read by the next job", "name another")
    there = list(output.path.iterdir()) if output.path.is_dir() else []
    if not output.lines and any(path.name != WORK and not path.name.startswith(f".{NAME}") for path in there):
        raise UsageError(f"{output.path} holds something else than a job's output", do="name a new folder, or empty it")


def described(found: Plan, limits: Limits) -> list[str]:
    """The plan in words."""
    spread_rows = 0 if found.loose is None else found.loose.rows
    said = [f"{len(found.files):,} files, about {found.rows:,} rows, {found.bytes / 2**20:,.1f} MiB before compression"]
    if found.shards:
        ranged = sum(shard.low is not None or shard.high is not None for shard in found.shards)
        how = f", {ranged:,} of them ranges of ids" if ranged else ""
        most = max(shard.rows for shard in found.shards)
        said.append(f"{len(found.shards):,} shards of whole series{how}; the largest reads about {most:,} rows")
    if found.loose is not None:
        weight = max(spread_rows / limits.rows, found.loose.bytes / limits.bytes)
        said.append(
            f"{len(found.loose.files):,} files hold parts of the same series: their {spread_rows:,} rows are spread by "
            f"id into about {max(1, round(1.1 * weight)):,} buckets first, which takes as much room on the disk"
        )
    faults = [one.fault for one in found.facts if one.fault is not None]
    if faults:
        said.append(f"{len(faults):,} files cannot be used; the first: {faults[0]}")
    return said
