"""What the proofs found, as Markdown tables (proofs.md) and one picture (proofs.png). Knows no torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.artifacts import atomic
from forecast.dashboards.charts.style import png, styled

PAGE, PICTURE = (Path(__file__).with_name(f"proofs.{kind}") for kind in ("md", "png"))
Row = dict[str, Any]
LIMIT = 1e-2  # of the sine
FORMS = ("none", "instance", "rolling", "rolling, streamed")
HEAD = """# Proofs of mechanism

`python -m benchmarks proofs`: tasks made by a rule (`benchmarks/tasks.py`), encoders as their configs build them,
without dropout. Written by the command; settings, seed and seconds of each of {count} trainings are in `proofs.json`.
In all {minutes:.0f} minutes of one CPU thread.

![Recall, copy, sine and level shift by encoder](proofs.png)
"""
RECALL = """
## Associative recall

Keys with their values, then blanks, then keys alone: name their values. A quarter of the sequence are keys at most.
Accuracy, and the steps it took to reach 99 %; where it was not reached, all that were allowed were taken ({allowed}).
One seed. Width 64, two layers, the same positions for all; one chunk holds the whole sequence unless said otherwise.
"""
COPY = """
## Long-range copy

Name the first of all symbols, which stands so many steps ago; eight symbols, chance 0.125. Accuracy, and the steps
taken, at most {allowed}. One seed. `tcnca` has its chunks of 64 steps here, so only convolutions or the average go
from one to the next; with depth 3 the convolutions of a layer see 85 steps, with depth 5 they see 1,365.
"""
SHIFT = """
## Level shift

A sine with noise of variance 0.01, trained at one level; then the level jumps by 3 up or down, some steps before the
forecast of 12 steps. MSE, mean over {seeds}. Windows of 48 steps: after 48 the jump is out of sight. Streamed: one
scan over 192 steps. Rolling statistics have a half-life of 12 steps.
"""
SINE = """
## A sine without noise

24 steps ahead from 36; the period, 24 steps, is told to nobody. `norm=none`. MSE after 200 steps of training, {seeds};
the aim is 0.01.
"""


def write(rows: Sequence[Row]) -> None:
    """Both files, whole or not at all."""
    found = {proof: [row for row in rows if row["proof"] == proof] for proof in ("recall", "copy", "shift", "sine")}
    parts = [
        HEAD.format(count=len(rows), minutes=sum(row["cpu_s"] for row in rows) / 60),
        RECALL.format(allowed=_allowed(found["recall"])), *_accuracies(found["recall"], "length, vocabulary"),
        COPY.format(allowed=_allowed(found["copy"])), *_accuracies(found["copy"], "steps ago"),
        SHIFT.format(seeds=_seeds(found["shift"])), *_shifts(found["shift"]),
        SINE.format(seeds=_seeds(found["sine"])), *_sines(found["sine"]),
    ]  # fmt: skip
    with atomic(PAGE) as temporary:
        temporary.write_text("\n".join(parts) + "\n", encoding="utf-8")
    with atomic(PICTURE) as temporary:
        temporary.write_bytes(png(_figure(found), dpi=110))


def _names(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _seeds(rows: Sequence[Row]) -> str:
    count = len(_names(rows, "seed"))
    return "one seed" if count == 1 else f"{count} seeds"


def _allowed(rows: Sequence[Row]) -> str:
    steps = {row["case"]: row["asked"]["steps"] for row in rows}
    return "; ".join(f"{case}: {allowed:,}" for case, allowed in steps.items())


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines)]


def _accuracies(rows: Sequence[Row], what: str) -> list[str]:
    cell = {(row["encoder"], row["case"]): row["result"] for row in rows}
    cases, lines = _names(rows, "case"), []
    for encoder in _names(rows, "encoder"):
        results = [cell.get((encoder, case)) for case in cases]
        lines.append([encoder, *("–" if r is None else f"{r['accuracy']:.3f} ({r['steps']})" for r in results)])
    return _table([what, *cases], lines)


def _curves(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, float]]:
    """(form, encoder) -> MSE by steps since the jump, mean over seeds."""
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for way, errors in row["result"].items():
            form = row["case"] + (", streamed" if way == "streamed" else "")
            runs.setdefault((form, row["encoder"]), []).append(errors)
    return {
        key: {int(since): mean(errors[since] for errors in several) for since in several[0]}
        for key, several in runs.items()
    }  # fmt: skip


def _shifts(rows: Sequence[Row]) -> list[str]:
    lines, since = [], []
    for form in FORMS:
        for (found, encoder), errors in _curves(rows).items():
            if found == form:
                since = list(errors)
                lines.append([form, encoder, *(f"{error:.3f}" for error in errors.values())])
    return _table(["norm", "encoder", *(f"{n} after" if n else "no jump" for n in since)], lines)


def _sines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for encoder in _names(rows, "encoder"):
        errors = [row["result"]["mse"] for row in rows if row["encoder"] == encoder]
        verdict = "yes" if max(errors) <= LIMIT else "no"
        lines.append([encoder, f"{mean(errors):.1e}", f"{max(errors):.1e}", verdict])
    return _table(["encoder", "mean", "worst", "0.01 reached by all seeds"], lines)


def _figure(found: dict[str, list[Row]]) -> Figure:
    with styled():
        figure = Figure(figsize=(13, 8.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1])
        left, middle, right = top.subplots(1, 3, width_ratios=[1.15, 1, 0.9])
        _matrix(left, found["recall"])
        _lines(middle, found["copy"])
        _dots(right, found["sine"])
        panels = bottom.subplots(1, len(FORMS), sharey=True)
        colour = _colours(_names(found["shift"], "encoder"))
        for axes, form in zip(panels, FORMS, strict=True):
            _recovery(axes, form, _curves(found["shift"]), colour)
        panels[0].set_ylabel("MSE of 12 steps ahead")
        bottom.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, handlelength=2.8
        )  # fmt: skip
    return figure


def _colours(names: Sequence[str]) -> Callable[[str], dict[str, Any]]:
    """Encoders differ in colour and in line style; the control is grey."""
    hues = mpl.color_sequences["tab10"]
    dashes = ("-", "--", "-.", ":")

    def of(name: str) -> dict[str, Any]:
        at = names.index(name)
        return {"color": "#808080" if name == "none" else hues[at % 7], "ls": dashes[at % 4]}

    return of


def _matrix(axes: Axes, rows: Sequence[Row]) -> None:
    """Accuracy as shade and number."""
    cell = {(row["encoder"], row["case"]): row["result"] for row in rows}
    encoders, cases = _names(rows, "encoder"), _names(rows, "case")
    for (encoder, case), result in cell.items():
        x, y, share = cases.index(case), encoders.index(encoder), result["accuracy"]
        axes.imshow([[share]], cmap="Blues", vmin=0, vmax=1.2, extent=(x - 0.5, x + 0.5, y + 0.5, y - 0.5))
        text = f"{share:.2f}\n{result['steps']} steps"
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if share > 0.7 else "black")
    axes.set(xlim=(-0.5, len(cases) - 0.5), ylim=(len(encoders) - 0.5, -0.5), aspect="auto")
    axes.set_xticks(range(len(cases)), [case.replace(", ", " steps\n") + " keys" for case in cases])
    axes.set_yticks(range(len(encoders)), encoders)
    axes.grid(visible=False)
    axes.set_title("Associative recall: accuracy and steps trained")


def _lines(axes: Axes, rows: Sequence[Row]) -> None:
    names = _names(rows, "encoder")
    colour = _colours(names)
    for encoder in names:
        points = [(int(row["case"]), row["result"]["accuracy"]) for row in rows if row["encoder"] == encoder]
        axes.plot(*zip(*points, strict=True), marker="o", ms=3, label=encoder, **colour(encoder))
    distances = [int(case) for case in _names(rows, "case")]
    axes.set_xscale("log", base=2)
    axes.set_xticks(distances, [str(n) for n in distances])
    axes.set(ylim=(0, 1.04), xlabel="steps ago")
    axes.set_title("Copy: accuracy by distance (chance 0.125)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(0, 0.45), handlelength=2.8)


def _dots(axes: Axes, rows: Sequence[Row]) -> None:
    encoders = _names(rows, "encoder")
    for row in rows:
        axes.plot(row["result"]["mse"], encoders.index(row["encoder"]), "o", ms=4, color="#0a67ad", alpha=0.7)
    axes.axvline(LIMIT, color="#d35c00", lw=1)
    axes.set(xscale="log", ylim=(len(encoders) - 0.5, -0.5), xlabel="MSE; the line is the aim")
    axes.set_xticks([1e-8, 1e-6, 1e-4, 1e-2], ["1e-8", "1e-6", "1e-4", "1e-2"])
    axes.set_yticks(range(len(encoders)), [name.replace(", ", ",\n") for name in encoders])
    axes.set_title("Sine, 24 steps ahead")


def _recovery(
    axes: Axes, form: str, curves: dict[tuple[str, str], dict[int, float]], colour: Callable[[str], dict[str, Any]]
) -> None:
    for (found, encoder), errors in curves.items():
        if found == form:
            axes.plot(range(len(errors)), list(errors.values()), marker="o", ms=3, label=encoder, **colour(encoder))
            axes.set_xticks(range(len(errors)), ["none yet", *map(str, list(errors)[1:])])
    axes.set(yscale="log", xlabel="steps since the jump")
    axes.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes.set_title(f"Level shift, norm {form}")
