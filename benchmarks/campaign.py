"""The campaign: does a mixer earn its keep? Every encoder on the same data, embeddings, heads and budget.

For each table (a data set, a context, a horizon) every encoder is trained once with each embedding; the embedding of
the best validation is trained with two more seeds, and so is `none`, the control, with every embedding. Test windows
are scored once by each run and choose nothing. All chains start at the ridge forecast (`head.residual=linear`) except
`linear`, which is DLinear as published: what a run gains or loses, its network gains or loses.

Runs that are finished are not run again, so the same command goes on after a kill. Tables of data sets that are not
here (FORECAST_DATA) are left out. `python -m benchmarks.campaign [TABLE …] [--workers=2] [--runs=runs/campaign]`
writes campaign/TABLE/leaderboard.md, .csv and .html beside this file, and campaign/summary.md over all tables there.
"""

import argparse
import csv
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from forecast.artifacts import Run, atomic

HERE = Path(__file__).with_name("campaign")
SEEDS = (1, 2, 3)
SHORT = "optim.lr=5e-4 trainer.max_epochs=3 trainer.limit_train_batches=150"
LONG = "optim.lr=1e-3 trainer.max_epochs=4 trainer.limit_train_batches=200"  # one channel: a step is cheap
FAST = "optim.lr=1e-3 trainer.max_epochs=3 trainer.limit_train_batches=150"
TABLES = {
    "etth1-336-96": f"data=etth1 task.context=336 task.horizon=96 {SHORT}",
    "household-168-24": f"data=household task.context=168 task.horizon=24 {SHORT}",
    "electricity-168-24": f"data=electricity task.context=168 task.horizon=24 {LONG}",
    "ettm1-336-96": f"data=ettm1 task.context=336 task.horizon=96 {SHORT}",
    "electricity-336-96": f"data=electricity task.context=336 task.horizon=96 {FAST}",
    "etth1-96-96": f"data=etth1 task.context=96 task.horizon=96 {SHORT}",
    "household-336-96": f"data=household task.context=336 task.horizon=96 {SHORT}",
    "etth1-336-336": f"data=etth1 task.context=336 task.horizon=336 {SHORT}",
}
COMMON = (
    "norm=instance data.batch_size=32 trainer.patience=null trainer.save_every=null trainer.threads=1 track=none "
    "quiet=true"
)
EMBEDS = {
    # Patches as PatchTST has them, without a calendar; steps as Informer has them, with one.
    "patch": "embed=patch embed.d_model=32 embed.patch=24 embed.stride=12 embed.calendar=none "
    "head=flat head.dropout=0.2 head.residual=linear",
    # Of the LSTM alone: segments, decoded in parallel, as SegRNN has them.
    "segments": "embed=patch embed.d_model=32 embed.patch=24 embed.stride=24 embed.calendar=none embed.position=false "
    "head=segments head.dropout=0.2 head.residual=linear",
    "value": "embed=value embed.d_model=32 head=timewise head.residual=linear",
}
ENCODERS = {  # the costly ones first, so that two workers end together
    "transformer": "model=transformer",
    "tcnca": "model=tcnca",
    "aaren": "model=aaren",
    "informer": "model=informer",
    "lstm": "model=lstm model.residual=true",
    "none": "model=none",
}
COLUMNS = [*reversed(ENCODERS), "linear"]
Row = Mapping[str, str]  # of leaderboard.csv


class Job(NamedTuple):
    """One training."""

    table: str
    encoder: str
    embed: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.table}.{self.encoder}.{self.embed}.{self.seed}"

    def words(self, runs: Path) -> list[str]:
        linear = self.encoder == "linear"
        own = "model=linear" if linear else f"{EMBEDS[self.embed]} {ENCODERS[self.encoder]}"
        text = f"{TABLES[self.table]} {own} {COMMON} seed={self.seed} name={self.name}"
        return ["train", *text.split(), f"runs={runs}"]


def screening(table: str) -> list[Job]:
    """Every encoder with every embedding, the LSTM over segments too, one seed."""
    jobs = [Job(table, encoder, embed, SEEDS[0]) for embed in ("value", "patch") for encoder in ENCODERS]
    return [*jobs, Job(table, "lstm", "segments", SEEDS[0]), Job(table, "linear", "none", SEEDS[0])]


def repeats(table: str, done: dict[str, Run]) -> list[Job]:
    """The other seeds, of each encoder's best embedding by validation, and of the control with all."""
    best: dict[str, tuple[float, Job]] = {}
    for job in screening(table):
        if job.name in done:
            score = float(done[job.name].read("metrics.json")["best"]["val/mse"])
            best[job.encoder] = min(best.get(job.encoder, (score, job)), (score, job))
    chosen = {job for _, job in best.values()} | {job for job in screening(table) if job.encoder == "none"}
    return [job._replace(seed=seed) for job in screening(table) if job in chosen for seed in SEEDS[1:]]


def finished(runs: Path) -> dict[str, Run]:
    """The sealed runs by name."""
    found = {}
    for path in sorted((runs / "train").iterdir()) if (runs / "train").is_dir() else ():
        run = Run(path)
        if run.sealed:
            found[str(run.read("config.json").get("name"))] = run
    return found


def work(job: Job, runs: Path) -> tuple[Job, int]:
    """A training in this process, which nothing else uses."""
    from forecast.__main__ import main

    sys.argv = ["forecast", *job.words(runs)]
    return job, main()


def carry_out(jobs: Iterable[Job], runs: Path, workers: int) -> None:
    """Those of the jobs that are not finished; a line for each on stderr."""
    done = finished(runs)
    todo = [job for job in jobs if job.name not in done]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pytorch_lightning", "hydra"])  # what takes seconds to import
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        for number, (job, code) in enumerate(pool.map(work, todo, [runs] * len(todo)), 1):
            state = "done" if code == 0 else f"failed ({code})"
            print(f"{number:>4} of {len(todo)}  {state}  {job.name}", file=sys.stderr, flush=True)


def write(table: str, runs: Path) -> None:
    """The leaderboard of a table's finished runs, and the summary of all tables that were ever written."""
    command = [sys.executable, "-m", "forecast", "evaluate", "compare=all", f"runs={runs}", f"output={HERE / table}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summarise()


def summarise() -> None:
    """campaign/summary.md and .png from the leaderboards that are there."""
    tables = {path.parent.name: _chosen(path) for path in HERE.glob("*/leaderboard.csv")}
    tables = {table: tables[table] for table in TABLES if table in tables}
    with atomic(HERE / "summary.md") as temporary:
        temporary.write_text("\n".join(_summary(tables)) + "\n", encoding="utf-8")
    with atomic(HERE / "summary.png") as temporary:
        _draw(tables, temporary)


def _chosen(path: Path) -> dict[str, Row]:
    """The rows of a leaderboard by model: of each the one of the best validation; the naive ones too."""
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {row["model"]: row for row in rows if row["chosen"] == "true" or row["kind"] == "naive"}


def _summary(tables: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """A row for each table, a column for each encoder with the embedding its validation chose."""
    lines = [f"| test MSE (scaled) | ridge | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for table, rows in tables.items():
        title = f"[{_title(rows)}]({table}/leaderboard.md)"
        cells = [_cell(rows[encoder]) if encoder in rows else "" for encoder in COLUMNS]
        lines.append(f"| {title} | {float(rows['ridge']['test_mse']):.4f} | {' | '.join(cells)} |")
    return lines


def _title(rows: Mapping[str, Row]) -> str:
    first = rows["ridge"]
    return f"{first['dataset']} {first['context']} → {first['horizon']}"


def _cell(row: Row) -> str:
    """The mean score over seeds and the embedding; below, the difference to `none` with its interval; ▼ and ▲: the
    interval excludes 0."""
    tokens = {"none": "", "patch": " segments" if row["head"] == "segments" else " patch"}.get(
        row["embed"], f" {row['embed']}"
    )
    text = f"{float(row['test_mse']):.4f}{tokens}"
    if not row["delta_mse_low"]:
        return text
    delta, low, high = (float(row[key]) for key in ("delta_mse", "delta_mse_low", "delta_mse_high"))
    mark = " ▼" if high < 0 else " ▲" if low > 0 else ""
    return f"{text}<br>{delta:+.4f} [{low:+.4f}, {high:+.4f}]{mark}".replace("-", "−")


def _draw(tables: Mapping[str, Mapping[str, Row]], target: Path) -> None:
    """Each encoder's difference to `none` in percent of its MSE, with intervals; a panel for each table."""
    from matplotlib import pyplot

    names = [name for name in COLUMNS if name not in ("none", "linear")]  # linear is not of the same chain
    wide = min(4, len(tables))
    high = -(-len(tables) // wide)
    size = (1.2 + 1.9 * wide, 0.5 + 2.2 * high)
    figure, axes = pyplot.subplots(high, wide, figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(tables) :]:
        axis.set_visible(False)
    for axis, rows in zip(axes.flat, tables.values(), strict=False):
        axis.axvline(0, color="0.6", lw=1)
        for place, name in enumerate(reversed(names)):
            row = rows.get(name)
            if row is None or not row["delta_mse_low"]:
                continue
            delta, least, most = (float(row[key]) for key in ("delta_mse", "delta_mse_low", "delta_mse_high"))
            whole = (float(row["test_mse"]) - delta) / 100
            colour = "#1a7f37" if most < 0 else "#c2410c" if least > 0 else "0.25"
            axis.plot([least / whole, most / whole], [place, place], color=colour, lw=2)
            axis.plot(delta / whole, place, "o", ms=5, color=colour)
        axis.set_title(_title(rows).replace(" ", "\n", 1), fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), list(reversed(names)))
    figure.supxlabel("test MSE beyond that of none, % (left: the mixer helps), 95 % intervals", fontsize=9)
    figure.tight_layout()
    figure.savefig(target, dpi=120, format="png")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; none: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trainings at a time, a thread each")
    parser.add_argument("--runs", type=Path, default=Path("runs/campaign"), help="folder of the runs")
    asked = parser.parse_args()
    if odd := [table for table in asked.tables if table not in TABLES]:
        parser.error(f"{odd[0]} is none of {', '.join(TABLES)}")
    for table in asked.tables or TABLES:
        fill(table, asked.runs.resolve() / table, asked.workers)


def fill(table: str, runs: Path, workers: int) -> None:
    """A table from its first run that is missing to its leaderboard."""
    carry_out(screening(table), runs, workers)
    carry_out(repeats(table, finished(runs)), runs, workers)
    if finished(runs):
        write(table, runs)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
