"""A backtest of many origins beside a loop that forecasts a table cut at each of them.

electricity, 168 -> 24, the test part; weights as they are drawn: speed does not depend on them. The backtest makes
points and the 90 % interval, scores them beside all naive rows, fills its tables and writes its forecasts; the loop
only forecasts. Both say the same of the same origins. By the clock, and by the time of the processor.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.measure import Row, record
from forecast import build, config
from forecast.backtest.measure import Backtest, naive
from forecast.backtest.origins import Rolling
from forecast.backtest.policies import Window
from forecast.backtest.table import NAMES, Table, of_run
from forecast.backtest.writer import Writer
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.inference.predictor import Predictor
from forecast.where import CONF, DATASETS

CONTEXT, HORIZON, LOOPED = 168, 24, 40
LEVELS = [0.05, 0.95]
MODELS = {
    "linear": ["model=linear"],
    "aaren, d_model 32, 1 layer": ["model=aaren", "model.d_model=32", "model.layers=1", "model.d_ff=64"],
    "aaren, d_model 64, 2 layers": ["model=aaren", "model.d_model=64", "model.layers=2"],
}  # fmt: skip


def predictor_of(words: list[str], data: SeriesModule) -> Predictor:
    """A chain of that model, calibrated on validation."""
    import hydra

    config.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [*words, f"task.context={CONTEXT}", f"task.horizon={HORIZON}"])
    torch.manual_seed(0)
    made = Predictor(build.chain(config.plain(cfg), data.spec, masked=False), Recipe.from_state(data.state()), "model")
    made.calibrate(data)
    return made


def backtested(table: Table, predictor: Predictor, place: Path) -> tuple[float, float, float, pl.DataFrame]:
    """Windows a second of the whole backtest, by the clock and by the processor, of the forecasts alone, and the
    forecasts."""
    began, spent = time.perf_counter(), time.process_time()
    policy = Window(predictor, table.data, LEVELS)
    with Writer(place / "f.parquet", table.data.series, table.data.spec.channels) as writer:
        writer.words = {"part": NAMES}
        Backtest(table, {"window": policy}, LEVELS, HORIZON, writer).run(naive(table))
    whole, spent = time.perf_counter() - began, time.process_time() - spent
    began, numbers = time.perf_counter(), np.arange(len(table.windows))
    for some in np.array_split(numbers, max(1, len(numbers) // 256)):
        policy(table.data.gather(*map(torch.from_numpy, table.windows.at(some))))
    alone = time.perf_counter() - began
    count = len(numbers)
    return count / whole, count / spent, count / alone, pl.read_parquet(place / "f.parquet")


def looped(predictor: Predictor, made: pl.DataFrame) -> tuple[float, float]:
    """Origins a second of a loop over Predictor.predict, and by how much of itself it differs at most."""
    whole = pl.read_parquet(DATASETS / "electricity" / "electricity.parquet")
    cutoffs = made["cutoff"].unique().sort()
    chosen = cutoffs.gather(np.linspace(0, len(cutoffs) - 1, LOOPED).astype(int))
    began, alone = time.perf_counter(), []
    for cutoff in chosen:
        alone.append(predictor.predict(whole.filter(pl.col("time") <= cutoff), levels=LEVELS))
    seconds = time.perf_counter() - began
    one = made.filter(pl.col("cutoff").is_in(chosen.implode()))["y_hat"].to_numpy()
    other = pl.concat(alone)["y_hat"].to_numpy()
    return LOOPED / seconds, float((np.abs(one - other) / np.abs(other)).max())


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data = SeriesModule(card="electricity", context=CONTEXT, horizon=HORIZON).prepare()
    table, rows = of_run(data, Rolling()), list[Row]()
    for name, words in MODELS.items():
        predictor = predictor_of(words, data)
        with tempfile.TemporaryDirectory() as place:
            whole, spent, alone, made = backtested(table, predictor, Path(place))
        loop, apart = looped(predictor, made)
        rows.append({
            "model": name, "windows": len(table.windows), "backtest windows/s": round(whole),
            "per CPU second": round(spent),
            "forecasts alone windows/s": round(alone), "loop origins/s": round(loop, 1),
            "times as fast": round(whole / loop), "relative difference": float(f"{apart:.1e}"),
        })  # fmt: skip
        print(rows[-1], flush=True)
    torch.set_num_threads(threads)
    record("backtest", rows)


if __name__ == "__main__":
    main()
