"""All that a training wrote into history.csv, drawn over its steps: the loss first, a panel for each other name."""

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Chart, Line, Mark, Panel, Points, Rule
from forecast.dashboards.charts.style import number
from forecast.dashboards.load import Run

MOST = 800  # values of a curve drawn
DOTTED = 60  # values up to which each has a dot
WIDE = 30  # from this ratio of its ends on a loss is drawn on a logarithmic axis
UNITS = {"series": "scaled", "events": "nats per event", "classes": "nats per series"}
SHARES = ("accuracy", "f1")  # scores between 0 and 1
LABELS = {"lr": "learning rate", "grad_norm": "gradient norm", "train/grad_norm": "gradient norm"}


def curves(run: Run) -> Chart | None:
    """Panels one below the other that share the axis of steps; None where nothing was written."""
    if run.history is None:
        return None
    names = run.history["name"].unique().sort().to_list()
    rest = [name for name in names if name not in ("train/loss", run.monitor)]
    rest.sort(key=lambda name: (not name.startswith("val/"), name))
    first = _loss(run)
    panels = [*([first] if first else []), *(_other(run, name) for name in rest)]
    if not panels:
        return None
    panels = [panel._replace(x=panel.x._replace(label="optimiser step" if k == len(panels) - 1 else ""))
              for k, panel in enumerate(panels)]  # fmt: skip
    best, val = run.best_epoch, run.curve(run.monitor)
    steps = int(run.history["step"].max() or 0)  # type: ignore[arg-type]
    words = f"What history.csv holds of {steps:,d} steps"
    words += f", with the validation after each of {val.height:,d} epochs." if val.height else "."
    if best is not None:
        words += f" The best is epoch {best['epoch'] + 1} with {number(best['value'])} ({run.monitor}), marked."
    if any(run.curve(name).height > MOST for name in names):
        words += f" Of longer curves means of neighbouring steps, {MOST} in all, are drawn."
    last = run.curve("train/loss")
    alt = words + (f" The training loss ends at {number(last['value'][-1])}." if last.height else "")
    return Chart("curves", "Training curves", words, alt, tuple(panels), shared=True)


def _loss(run: Run) -> Panel | None:
    """Training loss and the validation score by which weights are chosen."""
    train, val, best = run.curve("train/loss"), run.curve(run.monitor), run.best_epoch
    marks: list[Mark] = []
    if best is not None:
        marks.append(Rule(best["step"]))
    if train.height:
        marks.append(Line(*_drawn(train), "training loss", "other", width=1.0))
    if val.height:
        dots = val.height <= DOTTED
        marks.append(Line(*_drawn(val), run.monitor, "model", width=1.8, dots=dots))
    if best is not None:
        marks.append(Points([best["step"]], [best["value"]], f"best: epoch {best['epoch'] + 1}", symbol="ring", size=8))
    if not train.height and not val.height:
        return None
    values = pl.concat([train["value"], val["value"]])
    low, high = float(values.min() or 0.0), float(values.max() or 0.0)  # type: ignore[arg-type]
    wide = low > 0 and high / low > WIDE
    return Panel(tuple(marks), _steps(), Axis(f"loss ({UNITS[run.kind]})", "log" if wide else "linear"), height=2.7)


def _other(run: Run, name: str) -> Panel:
    """One more curve, whatever its name."""
    curve, best = run.curve(name), run.best_epoch
    marks: list[Mark] = [Rule(best["step"])] if best is not None else []
    dots = curve.height <= DOTTED and name.startswith("val/")
    marks.append(Line(*_drawn(curve), "", "model" if name.startswith("val/") else "ridge", dots=dots))
    share = name.startswith("val/") and any(word in name for word in SHARES)
    most = float(curve["value"].max() or 0.0)  # type: ignore[arg-type]
    room = (0.0, 1.1 * most) if name == "lr" and most > 0 else None  # it is often constant
    return Panel(tuple(marks), _steps(), Axis(LABELS.get(name, name), percent=share, range=room), height=1.4)


def _steps() -> Axis:
    return Axis("optimiser step", whole=True)


def _drawn(curve: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    thin = thinned(curve)
    return thin["step"].to_numpy(), thin["value"].to_numpy()


def thinned(curve: pl.DataFrame, most: int = MOST) -> pl.DataFrame:
    """Means of neighbouring values of a curve, `most` of them: what one batch happened to hold is noise."""
    each = max(1, -(-curve.height // most))
    index = (pl.int_range(pl.len()) // each).alias("bucket")
    return curve.group_by(index, maintain_order=True).agg(pl.col("step", "value").mean())
