"""Jobs: predict with an output that is a folder. What is wrong with one file or series ends no job, see tests/jobs."""

from pathlib import Path

from .case import Case, nothing
from .make import csv, put

JOB = "predict run=run input=f.csv output=out"
FILE = "predict run=run input=f.csv output=o.csv"


def empty(here: Path) -> None:
    (here / "in").mkdir()


def strange(here: Path) -> None:
    """An output that is a folder of somebody else."""
    csv()(here)
    (here / "out").mkdir()
    (here / "out" / "letter.txt").write_text("dear")


def inside(here: Path) -> None:
    (here / "in").mkdir()
    csv()(here)
    (here / "f.csv").rename(here / "in" / "f.csv")


CASES = [
    Case(
        "a job on nothing",
        "jobs/files.py find: is no file or folder",
        nothing,
        "f.csv is no file or folder; expected a folder of .csv, .csv.gz, .parquet, .pq files",
        JOB,
        run=True,
    ),
    Case(
        "a job on a file of another ending",
        "jobs/files.py find: has another ending",
        put("x", "f.txt"),
        "f.txt has another ending; expected .csv, .csv.gz, .parquet, .pq → convert the file",
        "predict run=run input=f.txt output=out",
        run=True,
    ),
    Case(
        "a job on an empty folder",
        "jobs/files.py find: holds no file",
        empty,
        "in holds no file that can be read; expected .csv, .csv.gz, .parquet, .pq",
        "predict run=run input=in output=out",
        run=True,
    ),
    Case(
        "a job whose files lack a column",
        "jobs/plan.py usable: can be used",
        csv(head="when,y"),
        "no file can be used; {here}/f.csv has no column 'ds'; found when, y; correct it, or set 'rename={COLUMN: ds}'",
        JOB,
        run=True,
    ),
    Case(
        "a job that renames what is not there",
        "jobs/plan.py usable: rename names",
        csv(),
        "rename names 'wen', which is no column of the input; found ds, y",
        f"{JOB} 'rename={{wen: x}}'",
        2,
        run=True,
    ),
    Case(
        "a rename that is no mapping",
        "jobs/job.py renamed: COLUMN OF",
        csv(),
        "rename is 'ds'; expected {COLUMN OF THE INPUT: COLUMN OF THE TRAINING}",
        f"{JOB} rename=ds",
        2,
        run=True,
    ),
    Case(
        "a rename of two columns to one",
        "jobs/job.py renamed: once",
        csv(),
        "rename is {'a': 'y', 'b': 'y'}; expected each column of the training once",
        f"{JOB} 'rename={{a: y, b: y}}'",
        2,
        run=True,
    ),
    Case(
        "a wide table for a run of one series",
        "jobs/job.py checked: layout=wide",
        csv(),
        "layout=wide with this run; its series have no names → give a long table",
        f"{JOB} layout=wide",
        2,
        run=True,
    ),
    Case(
        "more steps than the run forecasts",
        "jobs/job.py checked: horizon is",
        csv(),
        "horizon is 99; expected 1 to 3, the horizon of the run",
        f"{JOB} horizon=99",
        2,
        run=True,
    ),
    Case(
        "an output in the input",
        "jobs/batch.py apart: is in the input",
        inside,
        "{here}/in/out is in the input; its files would be read by the next job → name another",
        "predict run=run input=in output=in/out",
        2,
        run=True,
    ),
    Case(
        "an output that holds something else",
        "jobs/batch.py apart: something else",
        strange,
        "{here}/out holds something else than a job's output → name a new folder, or empty it",
        JOB,
        2,
        run=True,
    ),
    Case(
        "fewer than no processes",
        "jobs/local.py __init__",
        csv(),
        "engine.processes is -1; expected a count, 0 for no process but this one",
        f"{JOB} engine.processes=-1",
        2,
        run=True,
    ),
    Case(
        "a setting of another engine",
        "jobs/engine.py engine",
        csv(),
        "engine.actors=2 with engine=local; expected processes → leave it out",
        f"{JOB} engine.actors=2",
        2,
        run=True,
    ),
    Case(
        "shards of no rows",
        "verbs/predict_job.py checked: expected at least 1",
        csv(),
        "shard_rows is 0; expected at least 1",
        f"{JOB} shard_rows=0",
        2,
        run=True,
    ),
    Case(
        "a share of bad series above 1",
        "verbs/predict_job.py checked: max_bad_fraction",
        csv(),
        "max_bad_fraction is 7; expected a share, 0 to 1",
        f"{JOB} max_bad_fraction=7",
        2,
        run=True,
    ),
    Case(
        "a key of one file with a job",
        "verbs/checks.py meaningless",
        csv(),
        "paths=5 with an output that is a folder; it is about one file → leave it out",
        f"{JOB} paths=5",
        2,
        run=True,
    ),
    Case(
        "a key of jobs with a file",
        "verbs/predict.py _of_a_file",
        csv(),
        "on_bad=fallback with an output that is a file; it is about jobs → set output=FOLDER",
        f"{FILE} on_bad=fallback",
        2,
        run=True,
    ),
    Case(
        "a folder into a file",
        "verbs/predict.py predict: is a folder",
        empty,
        "input=in is a folder; its forecasts go to a folder too → set output=FOLDER",
        "predict run=run input=in output=o.csv",
        2,
        run=True,
    ),
]
