"""forecast backtest: forecasts from many origins in the past, as they would have been made then; docs/backtest.md."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from forecast.artifacts import SCHEMA, WEIGHTS, Run, atomic, sha256, write_json
from forecast.backtest.measure import Backtest, Found, naive
from forecast.backtest.origins import Rolling, cutoffs, parse
from forecast.backtest.policies import Again, Block, Policy, Start, Window, again_too, streamed_too
from forecast.backtest.table import NAMES, Table, of_file, of_run, own, parts, still_there
from forecast.backtest.writer import Writer
from forecast.build import task_of
from forecast.data.table import stamp
from forecast.errors import UsageError, fits_in_memory
from forecast.inference.baseline import Forecaster
from forecast.inference.named import Named
from forecast.inference.named import parse as parse_named
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import BATCH
from forecast.streaming.live import Live
from forecast.verbs.backtest_refit import REFITS, Refits, every, trained
from forecast.verbs.backtest_tables import printed
from forecast.verbs.checks import levels_of, run_of
from forecast.verbs.evaluate import same_data

if TYPE_CHECKING:
    from omegaconf import DictConfig

METRICS: Final = "metrics.json"  # the last file: a folder with it is a finished backtest
FILES: Final = ("forecasts.parquet", "series.parquet", "steps.parquet", "origins.parquet", "backtest.png")
INSTEAD: Final = {
    "event": "forecast evaluate run=… scores every event of the test part, forecast stream run=… feed=replay those of "
    "a file",
    "classify": "forecast evaluate run=… scores the test series, forecast stream run=… feed=replay those of a file as "
    "they come",
}


class Plan(NamedTuple):
    """What was asked for, checked."""

    rolling: Rolling
    named: list[Named]
    levels: list[float]
    horizon: int
    policy: str
    every: int | None  # origins from refit to refit
    size: int


def backtest(cfg: "DictConfig", overrides: list[str]) -> None:
    """Forecast at all origins, score, write; a folder without metrics.json is one that was not finished."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    output = free(Path(asked["output"]).expanduser(), asked["overwrite"])
    rolling, named = parse(asked["origins"], asked["step"]), parse_named(asked["baseline"], asked["baseline_windows"])
    run = run_of(asked)
    config = run.read("config.json")
    if (task := task_of(config)) in INSTEAD:
        what = "events" if task == "event" else "classes"
        raise UsageError(f"run {run.id} is of {what}, which have no rolling origins", do=INSTEAD[task])
    predictor = Predictor.load(run)
    plan = planned(asked, predictor, rolling, named)
    table = table_of(asked, run, config, predictor, plan)
    live = _live(run, predictor, plan) if plan.policy != "window" else None
    refits = Refits(output, config, table, plan.every, asked["warm"]) if plan.every is not None else None
    with _made(output, asked["overwrite"]):
        began = time.monotonic()
        blocks = trained(refits) if refits is not None else []
        table, policies, others, lacks = makers(table, predictor, plan, live, blocks)
        for line in said(table, plan, lacks):
            sys.stderr.write(f"{line}\n")
        with fits_in_memory("batch_size", plan.size):
            found = _written(output, table, policies, others, plan, asked, blocks)
        facts = record(asked, run, table, plan, found, lacks, refits, time.monotonic() - began)
        _kept(output, found, facts)
    sys.stdout.write(f"{printed(run.id, predictor.name, found, facts, output)}\n")


def planned(asked: Mapping[str, Any], predictor: Predictor, rolling: Rolling, named: list[Named]) -> Plan:
    """UsageError for what cannot be, before anything is read."""
    spec, size = predictor.recipe.spec, BATCH if asked["batch_size"] is None else asked["batch_size"]
    if size < 1:
        raise UsageError(f"batch_size is {size}", "expected at least 1")
    horizon = spec.horizon if asked["horizon"] is None else asked["horizon"]
    if not 1 <= horizon <= spec.horizon:
        raise UsageError(f"horizon is {horizon}", f"expected 1 … {spec.horizon}, what the run forecasts",
                         "train with a longer task.horizon")  # fmt: skip
    if asked["covariates"] is not None and asked["input"] is None:
        raise UsageError("covariates= without input=", "the run's own data have theirs", "set input=, or leave it out")
    again = every(asked["refit"])
    if again is not None and asked["input"] is not None:
        raise UsageError("refit= with input=: a refit trains on the run's own data", do="leave one of them out")
    if again is not None and asked["policy"] != "window":
        raise UsageError(f"refit= with policy={asked['policy']}: a stream keeps its model", do="leave one of them out")
    if again is None and asked["warm"]:
        raise UsageError("warm=true without refit=", "nothing is trained", "set refit=every:K, or leave it out")
    levels = predictor.asked(levels_of(asked["levels"]))
    return Plan(rolling, named, levels, horizon, asked["policy"], again, size)


def table_of(
    asked: Mapping[str, Any], run: Run, config: dict[str, Any], predictor: Predictor, plan: Plan
) -> Table:  # fmt: skip
    """The run's own data, or another file."""
    recipe = predictor.recipe
    if asked["input"] is not None:
        place = Path(asked["input"]).expanduser()
        return of_file(recipe, plan.rolling, place, asked["covariates"], still_there(config, recipe))
    data = own(config, recipe).in_memory()
    same_data(run, data)
    return of_run(data, plan.rolling)


def _live(run: Run, predictor: Predictor, plan: Plan) -> Live:
    """The stream as `forecast stream` begins it. UsageError where the model cannot stream."""
    live = Live(predictor, sha256(run.checked(WEIGHTS)), levels=plan.levels)
    if live.fold.gaps == "error":
        live.fold.gaps = "fill"  # as there
    return live


def makers(
    table: Table, predictor: Predictor, plan: Plan, live: Live | None, blocks: list[Block]
) -> tuple[Table, dict[str, Policy], dict[str, Forecaster], int]:
    """The windows that all have a forecast of, the policies, what stands beside them, and how many windows were left
    out."""
    policies: dict[str, Policy] = {}
    lacks, others = 0, naive(table)
    if blocks:
        table = table._replace(borders=np.zeros((len(table.data.series.ids), 2), np.int64))  # never in sample
        made = [block._replace(maker=Window(block.maker, block.data, plan.levels)) for block in blocks]
        policies["window"] = Again(f"{predictor.name}, refitted", table.data, made)
        others |= again_too(table.data, blocks, ["ridge"], ridge_of)
    elif plan.policy != "start":
        policies["window"] = Window(predictor, table.data, plan.levels)
    if live is not None:
        start = Start(live, table)
        table, lacks = streamed_too(table, start)
        policies["start"] = start
    return table, policies, others, lacks


def ridge_of(data: Any) -> dict[str, Forecaster]:
    """Ridge, fitted on the training part of a refit."""
    from forecast.inference.baseline import Ridge

    return {"ridge": Ridge.fit(data.gather, data.windows("train"))}


def said(table: Table, plan: Plan, lacks: int) -> list[str]:
    """Lines for people: what is in sample, what is left out."""
    origin, number = table.windows.at(np.arange(len(table.windows), dtype=np.int64))
    code, lines = parts(table, origin, number), []
    total = f"{len(code):,}"
    if (train := int((code == 0).sum())) or (code == 1).any():
        val = int((code == 1).sum())
        lines.append(
            f"in-sample: {train:,} of {total} forecasts begin in the training part of the run, {val:,} in its "
            "validation part; the column `part` says which"
        )
    if (code < 0).any():
        lines.append("whether origins lie in the training part of the run is not known: its data are not there")
    if lacks:
        lines.append(f"{lacks:,} origins are left out: nothing was observed at their step, so a stream said nothing")
    return lines


def _written(
    output: Path, table: Table, policies: dict[str, Policy], others: dict[str, Forecaster], plan: Plan,
    asked: Mapping[str, Any], blocks: list[Block],
) -> Found:  # fmt: skip
    spec = table.data.spec
    with Writer(output / FILES[0], table.data.series, spec.channels) as writer:
        writer.words = {"part": NAMES}
        if blocks:
            writer.words["run"] = tuple(block.run for block in blocks)
        whole = Backtest(table, policies, plan.levels, plan.horizon, writer)
        return whole.run(others, plan.named, few=asked["baseline_windows"], batch_size=plan.size)


def record(
    asked: Mapping[str, Any], run: Run, table: Table, plan: Plan, found: Found, lacks: int, refits: "Refits | None",
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """What metrics.json holds."""
    windows, data = table.windows, table.data
    origin, number = windows.at(np.arange(len(windows), dtype=np.int64))
    code, (times, _) = parts(table, origin, number), cutoffs(data.series, windows)
    first, last = (stamp(times[[at]].astype("datetime64[us]")[0]) for at in (0, -1))
    names = dict(zip(range(-1, 3), ("unknown", *NAMES[:3]), strict=True))
    return {
        "schema": SCHEMA, "run": run.id, "asked": {key: asked[key] for key in sorted(asked)}, "data": data.source,
        "horizon": plan.horizon, "levels": plan.levels, "windows": len(windows), "left_out": lacks,
        "series": int(len(np.unique(number))),
        "origins": {"count": len(times), "first": first, "last": last, "step": plan.rolling.step},
        "parts": {name: int((code == k).sum()) for k, name in names.items()},
        "refits": [] if refits is None else refits.facts, "rows": found.rows, "intervals": found.intervals,
        **({"baselines": found.records} if found.records else {}),
        "seconds": {"total": round(seconds, 2), "scored": round(found.seconds, 3)},
        "windows_per_second": round(len(windows) / max(found.seconds, 1e-9), 1),
    }  # fmt: skip


def _kept(output: Path, found: Found, facts: dict[str, Any]) -> None:
    """The tables, the picture, and last what says that all is there."""
    from forecast.dashboards.series.backtest import picture

    tables = (found.series, found.steps, found.origins)
    for name, frame in zip(FILES[1:4], tables, strict=True):
        with atomic(output / name) as temporary:
            frame.write_parquet(temporary)
    with atomic(output / FILES[4]) as temporary:
        temporary.write_bytes(picture(found.steps, found.origins, facts))
    write_json(output / METRICS, facts)


def free(output: Path, overwrite: bool) -> Path:
    """The folder, which is not there yet, or holds a backtest that was not finished, or one that may go."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is no folder", do="name another place")
    held = {path.name for path in output.iterdir() if not path.name.startswith(".")} if output.is_dir() else set()
    if odd := held - {*FILES, METRICS, REFITS}:
        raise UsageError(f"{output} holds {min(odd)}, which is of no backtest", do="name another folder")
    if METRICS in held and not overwrite:
        raise UsageError(f"{output} exists", do="name another folder, or set overwrite=true")
    return output


class _made:
    """The output folder while it is filled: what cannot be written is said in one line, and a new folder that a fault
    has left empty is gone."""

    def __init__(self, output: Path, overwrite: bool) -> None:
        self.output, self.overwrite = output, overwrite

    def __enter__(self) -> None:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            if (self.output / METRICS).exists() and self.overwrite:
                for name in (METRICS, *FILES):
                    (self.output / name).unlink(missing_ok=True)
                shutil.rmtree(self.output / REFITS, ignore_errors=True)
        except OSError as error:
            raise _cannot(self.output, error) from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if kind is not None and self.output.is_dir() and not any(self.output.iterdir()):
            self.output.rmdir()
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise _cannot(self.output, error) from error


def _cannot(output: Path, error: OSError) -> UsageError:
    return UsageError(f"{output} cannot be written: {error.strerror or error}", do="name another place")
