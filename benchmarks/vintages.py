"""What weather that is known too early is worth: `python -m benchmarks vintages`, a minute or two.

An hourly load that follows the temperature (made by a rule, seeded), to forecast a day ahead. The temperature is known
three ways: not at all; as it was measured, also for the hours to come, which nobody can know; as it was forecast at the
time, an error that grows with the lead, each forecast with the stamp at which it was issued (`available_at`). Test MSE
(scaled) of all windows. Writes vintages.json and vintages.md.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forecast import build
from forecast.artifacts import Run, find
from forecast.data.known import known_of
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import score

HERE = Path(__file__).parent
HOURS, LEADS = 6000, (0, 3, 6, 12, 18, 24, 36, 48)
START = np.datetime64("2023-01-01T00:00", "us")
COMMON = (
    "data=series data.time=time data.target=load data.freq=h task.context=72 task.horizon=24 model=linear "
    "trainer.max_epochs=4 optim.lr=5e-3 track=none predictions=false quiet=true"
)


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The load beside the measured temperature, and the temperature as it was forecast."""
    draw, hours = np.random.default_rng(0), np.arange(HOURS + 1)
    front = np.zeros(len(hours))  # weather fronts: half forgotten after two days
    for t in range(1, len(front)):
        front[t] = 0.985 * front[t - 1] + 0.6 * draw.standard_normal()
    temperature = 10 + 4 * np.sin(hours * (2 * np.pi / 24) - 2) + front
    day = 3 * np.sin(hours * (2 * np.pi / 24)) + np.sin(hours * (4 * np.pi / 24))
    load = 50 + day + 1.2 * np.abs(temperature - 12) + 0.8 * draw.standard_normal(len(hours))
    time = START + hours * np.timedelta64(1, "h")
    issued = [
        pl.DataFrame({"time": time, "temperature": temperature + 0.25 * lead**0.6 * draw.standard_normal(len(hours)),
                      "available_at": time - lead * np.timedelta64(1, "h")})
        for lead in LEADS
    ]  # fmt: skip
    return pl.DataFrame({"time": time, "load": load, "temperature": temperature}), pl.concat(issued)


def trained(folder: Path, name: str, words: str) -> Run:
    line = [sys.executable, "-m", "forecast", "train", *COMMON.split(), *words.split(), f"runs={folder / name}"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return find("latest", folder / name)


def as_issued(early: Run, vintages: Run) -> float:
    """The model that was trained on what was measured, given on the test windows what was issued at the time."""
    predictor, data = Predictor.load(early), build.data(vintages.read("config.json")).prepare()
    data.gather.known = known_of(
        data.series, predictor.recipe.coding, context=data.context, horizon=data.horizon, gaps=data.gaps
    )
    return mse(score(data, predictor.forecast, "linear", others={}))


def mse(rows: list[dict[str, Any]]) -> float:
    return float(rows[0]["scaled"]["mse"])


def main() -> None:
    measured, issued = tables()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        measured.write_parquet(folder / "measured.parquet")
        measured.drop("temperature").write_parquet(folder / "load.parquet")
        issued.write_parquet(folder / "issued.parquet")
        none = trained(folder, "none", f"data.path={folder}/load.parquet")
        early = trained(folder, "early", f"data.path={folder}/measured.parquet data.known=[temperature]")
        words = f"data.path={folder}/load.parquet data.covariates={folder}/issued.parquet"
        vintages = trained(folder, "vintages", words)
        found = {
            "no temperature": mse(none.read("metrics.json")["rows"]),
            "measured, known too early": mse(early.read("metrics.json")["rows"]),
            "the same model, given what was issued": as_issued(early, vintages),
            "trained on what was issued (`available_at`)": mse(vintages.read("metrics.json")["rows"]),
        }
    (HERE / "vintages.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in found.items())
    words = "`python -m benchmarks vintages`, linear, 72 → 24 hours, all test windows, one seed."
    page = f"# Weather known too early\n\n{words}\n\n| temperature | test MSE (scaled) |\n|---|---|\n{rows}\n"
    (HERE / "vintages.md").write_text(page, encoding="utf-8")
    sys.stdout.write(page)
