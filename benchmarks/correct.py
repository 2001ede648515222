"""What self-correction gains: `python -m benchmarks correct` trains a chain that streams on electricity and household,
streams validation and test parts in the order of time, and writes correct.json and correct.md.

The corrector begins with the validation part and is scored on the test part, each forecast as it was made before its
truth was known: on the data as they are, and with the level of every target shifted within the test part, in what is
scored as in what the model reads from then on. Its rates were chosen on streams that end before the test parts.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.campaign import finished
from benchmarks.measure import machine, seconds
from forecast import build
from forecast.artifacts import Run, write_json
from forecast.data.batch import Gather, batches
from forecast.data.module import SeriesModule
from forecast.data.window import Windows
from forecast.heads.stream import Stream
from forecast.inference.baseline import naive_rows
from forecast.inference.correct import Corrector
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import BATCH
from forecast.inference.streamed import forecasts, last
from forecast.inference.timed import places
from forecast.verbs.tables import table

HERE = Path(__file__).parent
RUNS = Path("runs/correct")
CASES = ("electricity", "household")
COMMON = (
    "experiment=stream task.context=168 task.horizon=24 embed.d_model=32 data.batch_size=32 optim.lr=2e-3 "
    "trainer.max_epochs=4 trainer.limit_train_batches=200 trainer.patience=null trainer.save_every=null "
    "trainer.threads=1 track=none predictions=false quiet=true"
)
SHIFTS = ((0.2, 1.5), (0.45, -1.0), (0.7, 2.0))  # from this share of the part on, by so many standard deviations
FEWEST = 360  # forecasts in a month that counts
LEVELS = (0.05, 0.5, 0.95)


class Told(NamedTuple):
    """N forecasts in the order of time, scaled, and what came."""

    step: np.ndarray  # (N,) the last step before each
    month: np.ndarray  # (N,)
    scored: np.ndarray  # (N,) whether it is one of the part
    point: np.ndarray  # (N, H, T)
    quantiles: np.ndarray  # (N, H, T, 3) at LEVELS, as calibrated
    truth: np.ndarray  # (N, H, T), NaN where nothing was observed
    naive: np.ndarray  # (N, H, T) the value one season before


class Issued(NamedTuple):
    """What was issued for N forecasts."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray


def shifted(data: SeriesModule, part: str) -> Gather:
    """The rows of `data` with the level of all targets shifted within a part."""
    values, windows, targets = data.gather.values.numpy().copy(), data.windows(part), data.spec.targets
    level = np.zeros((len(values), 1), np.float32)
    for share, by in SHIFTS:
        level[int(windows.first[0] + share * len(windows)) :] = by
    values[:, :targets] += level
    sizes: Any = {"targets": targets, "context": data.gather.context, "horizon": data.gather.horizon}
    return Gather(values, data.gather.clock.numpy(), **sizes)


@torch.inference_mode()
def told(data: SeriesModule, run: Run, gather: Gather, part: str) -> Told:
    """Every forecast of the frozen model from the beginning of the validation part to the end of `part`."""
    predictor, spec = Predictor.load(run), data.spec
    assert predictor.calibration is not None and len(data.series.ids) == 1
    first, windows = data.windows("val").first, data.windows(part)
    windows = Windows(first, np.array([0, int(last(windows)[0] - first[0]) + 1]), 1, windows.context, windows.horizon)
    start, stream = torch.from_numpy(data.series.start[:-1]), Stream(predictor.chain, len(spec.channels))
    made = list(forecasts(stream, gather, start, windows))
    origin, _, point = (torch.cat(each) for each in zip(*made, strict=True))
    time, place = places(data.series, origin.numpy(), spec.horizon, spec.season)
    scores = predictor.calibration.scores(torch.tensor(LEVELS), place)
    future, mask = gather.future(origin), gather.future_mask(origin)
    naive = naive_rows(spec, gather, start)["seasonal naive"]
    return Told(
        time - 1, data.series.time[origin.numpy()].astype("datetime64[M]").astype(str),
        origin.numpy() >= int(data.windows(part).first[0]), point.numpy(),
        predictor.chain.output.value(point, scores).numpy(), future.where(mask, torch.nan).numpy(),
        torch.cat([naive(batch) for batch in batches(gather, windows, BATCH)]).numpy(),
    )  # fmt: skip


def corrected(told: Told, corrector: Corrector) -> tuple[Issued, np.ndarray]:
    """What is issued when each forecast is corrected by what came before it, and the alarms (N, T)."""
    rows, made = corrector.start(1), Issued(*(np.empty_like(told.point) for _ in range(3)))
    alarms = np.zeros(told.point[:, 0].shape, bool)
    for i in range(len(told.step)):
        step = told.step[i : i + 1]
        if i:
            truth = told.truth[i - 1, :1]
            alarms[i - 1] = corrector.anomaly(rows, step, truth)[1][0]
            rows = corrector.see(rows, step, truth)
        shift, (below, above) = corrector.shift(rows)[0], (part[0] for part in corrector.stretch(rows))
        low, middle, high = np.moveaxis(told.quantiles[i], -1, 0)
        made.point[i] = told.point[i] + shift
        made.low[i] = middle + shift - below * (middle - low)
        made.high[i] = middle + shift + above * (high - middle)
        rows = corrector.issue(rows, step, told.point[i][None], made.low[i][None], made.high[i][None])
    return made, alarms


def scored(told: Told, made: Issued) -> dict[str, Any]:
    """Scores over the part: errors, and of the 90 % interval its coverage, width and interval score (Winkler 1972)."""
    some = told.scored
    y, point, low, high = told.truth[some], *(part[some] for part in made)
    below, above = np.maximum(low - y, 0), np.maximum(y - high, 0)
    inside, months = np.where(np.isnan(y), np.nan, (y >= low) & (y <= high)), told.month[some]
    return {
        "mse": float(np.nanmean((point - y) ** 2)), "mae": float(np.nanmean(np.abs(point - y))),
        "coverage": float(np.nanmean(inside)), "width": float(np.nanmean(np.where(np.isnan(y), np.nan, high - low))),
        "interval score": float(np.nanmean(high - low + 20 * (below + above))),
        "mse by lead": {str(h): float(np.nanmean((point - y)[:, h - 1] ** 2)) for h in (1, 3, 6, 12, 24)},
        "coverage by lead": {str(h): float(np.nanmean(inside[:, h - 1])) for h in (1, 3, 6, 12, 24)},
        "coverage by month": {
            str(month): float(np.nanmean(inside[months == month]))
            for month in np.unique(months)
            if (months == month).sum() >= FEWEST
        },
    }  # fmt: skip


def measured(data: SeriesModule, run: Run, part: str = "test") -> dict[str, Any]:
    """Frozen and corrected, on the data as they are and shifted."""
    corrector = Corrector(data.spec.horizon, data.spec.targets, season=data.spec.season)
    found: dict[str, Any] = {"width": corrector.width, "bytes": 4 * corrector.width}
    for name, gather in (("as they are", data.gather), ("shifted", shifted(data, part))):
        each = told(data, run, gather, part)
        made, alarms = corrected(each, corrector)
        some = each.scored
        frozen = Issued(each.point, each.quantiles[..., 0], each.quantiles[..., 2])
        found[name] = {
            "seasonal naive": {"mse": float(np.nanmean((each.naive - each.truth)[some] ** 2)),
                               "mae": float(np.nanmean(np.abs(each.naive - each.truth)[some]))},
            "frozen": scored(each, frozen), "corrected": scored(each, made), "alarms": float(alarms[some].mean()),
        }  # fmt: skip
    return found


def speed(rows: int = 1024) -> dict[str, float]:
    """Microseconds of a turn of `rows` series at once, for each."""
    corrector, draw, step = Corrector(24, 1, season=24), np.random.default_rng(0), 0
    state, point = corrector.start(rows), draw.standard_normal((rows, 24, 1))

    def turn() -> None:
        nonlocal state, step
        step += 1
        at = np.full(rows, step)
        state = corrector.see(state, at, point[:, 0])
        shift, (low, high) = corrector.shift(state), corrector.stretch(state)
        state = corrector.issue(state, at, point, point + shift - low, point + shift + high)

    return {"series at once": rows, "µs a series and step": 1e6 * seconds(turn, 50, warmup=30) / rows}


def main() -> None:
    """Train each case, or go on where a run of it is there, stream it, and write the tables."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in CASES:
        if name not in finished(RUNS.resolve()):
            words = [f"data={name}", f"name={name}", f"runs={RUNS}"]
            subprocess.run([sys.executable, "-m", "forecast", "train", *COMMON.split(), *words], check=True)
        run = finished(RUNS.resolve())[name]
        data = build.data(run.read("config.json")).prepare()
        found[name] = measured(data, run)
    whole = {"command": "python -m benchmarks correct", "train": COMMON, "shifts": SHIFTS, "machine": machine(),
             "speed": speed(), "data": found}  # fmt: skip
    write_json(HERE / "correct.json", json.loads(json.dumps(whole)))
    (HERE / "correct.md").write_text(page(whole), encoding="utf-8")
    for name, header, rows in tables(found):
        print(f"\n{name}\n{table(header, rows)}")


def tables(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of each table."""
    header = ["", "MSE", "÷ frozen", "MAE", "90 % covers", "by month, from", "to", "width", "interval score"]
    rows, months = [], []
    for data, each in found.items():
        for how in ("as they are", "shifted"):
            frozen, naive = each[how]["frozen"], each[how]["seasonal naive"]
            ratio = f"{naive['mse'] / frozen['mse']:.3f}"
            rows.append(
                [f"{data} {how}: seasonal naive", f"{naive['mse']:.5f}", ratio, f"{naive['mae']:.4f}", *["–"] * 5]
            )
            for way in ("frozen", "corrected"):
                one = each[how][way]
                by = list(one["coverage by month"].values())
                rows.append([
                    way, f"{one['mse']:.5f}", f"{one['mse'] / frozen['mse']:.3f}", f"{one['mae']:.4f}",
                    *(f"{100 * share:.1f} %" for share in (one["coverage"], min(by), max(by))),
                    f"{one['width']:.3f}", f"{one['interval score']:.3f}",
                ])  # fmt: skip
            months += [
                [f"{data} {how}" if not i else "", month, *(f"{100 * each[how][way]['coverage by month'][month]:.1f} %"
                                                            for way in ("frozen", "corrected"))]
                for i, month in enumerate(frozen["coverage by month"])
            ]  # fmt: skip
    return [("Scores", header, rows), ("Coverage by month", ["", "month", "frozen", "corrected"], months)]


def page(whole: dict[str, Any]) -> str:
    """The tables in Markdown."""
    sizes = ", ".join(f"{name} {each['bytes']:,} bytes" for name, each in whole["data"].items())
    alarms = ", ".join(
        f"{name} {how} {1000 * each[how]['alarms']:.2f}" for name, each in whole["data"].items()
        for how in ("as they are", "shifted")
    )  # fmt: skip
    steps = ", ".join(f"{by:+g} from {share:.0%} on" for share, by in SHIFTS)
    lines = [
        "# What self-correction gains",
        "",
        "`python -m benchmarks correct`; test parts streamed after the validation parts, one seed, 168 → 24, scaled.",
        f"Shifted: the level of every target, in standard deviations of the training part: {steps} of the test part.",
        f"Months of at least {FEWEST} forecasts. The state of a series: {sizes}; of one target 600 at most.",
        f"{whole['speed']['µs a series and step']:.1f} µs for a series and step, {whole['speed']['series at once']:,} "
        "at once, on one core.",
        f"Alarms, in a thousand values (the budget is one): {alarms}.",
    ]
    for name, header, rows in tables(whole["data"]):
        lines += ["", f"## {name}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
