"""Figures of what a model looked at: (Insight, window) -> Chart, None where the run has no such thing.

Steps are counted from the cutoff: -1 is the last one that the model saw.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Cells, Chart, Line, Panel, Points, Rule
from forecast.dashboards.charts.style import number
from forecast.dashboards.insight.stored import PICKS, Insight, read
from forecast.dashboards.insight.worth import importance, shortened
from forecast.dashboards.load import Facts, Run

COLUMNS = 500  # of shades beside each other
MOST_LAYERS = 6  # drawn; deeper encoders show their first ones
DASHES = ("solid", "dash", "dot", "dashdot")
ROLES = ("model", "seasonal", "ridge", "last", "other", "muted")


def insight_figures(found: Insight, window: int) -> list[Chart]:
    """Every figure there is data for, of window 0 (best), 1 (median) or 2 (worst)."""
    makers: Sequence[Callable[[Insight, int], Chart | None]] = (
        sparsity, kept, lengths, weights, newest, effective, reach, past, channels,
    )  # fmt: skip
    made = [make(found, window) for make in makers]
    return [chart for chart in made if chart is not None]


def which(found: Insight, window: int) -> str:
    """The window in words."""
    held = found.windows[window] if window < len(found.windows) else {}
    place = [str(held.get("series") or ""), f"after {held['cutoff']}" if held.get("cutoff") else ""]
    told = " ".join(word for word in place if word)
    what = "window" if found.by_steps else "sequence" if found.unit == "event" else "window"
    name = f"the {held.get('pick', PICKS[min(window, 2)])} {found.facts.get('part') or 'test'} {what}"
    return f"{name} ({told})" if told else name


def report_figures(run: Run) -> list[Chart]:
    """Those of a report, of the median window; none where the run wrote nothing."""
    found = read(run)
    if found is None:
        return []
    worth = importance(found)
    return [*insight_figures(found, 1), *([] if worth is None else [worth])]


# ProbSparse attention ---------------------------------------------------------------------------------------


def sparsity(found: Insight, window: int) -> Chart | None:
    """M of each query of each head, and which of them attend."""
    layers = _with(found, "sparsity")
    if not layers:
        return None
    panels, told = [], []
    for layer in layers:
        rows = found.of("sparsity", window, layer=layer["layer"]).sort("head", "step")
        heads = rows["head"].n_unique()
        z = rows["value"].to_numpy().astype(np.float64).reshape(heads, -1)
        x = _at(found, window, layer, np.arange(z.shape[1]))
        on = rows.filter(pl.col("kept"))
        dots = Points(
            _at(found, window, layer, on["step"].to_numpy()),
            on["head"].to_numpy() + 1,
            "attends",
            "seasonal",
            "dot",
            3.5,
        )
        title = f"layer {layer['layer'] + 1}: {layer.get('kept', '?')} of {layer['tokens']} queries attend"
        marks = (_shades(x, z, "M (unscaled score)"), dots)
        panels.append(Panel(marks, _time(found), _heads(heads), title, height=min(1.2 + 0.14 * heads, 3.4)))
        told.append(f"layer {layer['layer'] + 1}: M from {number(np.nanmin(z))} to {number(np.nanmax(z))}")
    words = (
        f"ProbSparse attention in {which(found, window)}: a shade is M, the largest less the mean score of a query "
        "over its sampled keys. Only the dotted queries, those with the largest M of their head, look at the keys; the "
        "others get the mean of all values."
    )
    return Chart("sparsity", "Which queries attend", words, f"{words} {'; '.join(told)}.", tuple(panels), columns=2)


def kept(found: Insight, window: int) -> Chart | None:
    """How often the query of a step attends, over heads and windows."""
    layers = _with(found, "sparsity")
    if not layers:
        return None
    alike = _alike(found)
    lines, told = [], []
    for i, layer in enumerate(layers):
        rows = found.of("sparsity", None if alike else window, layer=layer["layer"])
        rows = rows.group_by("step").agg(pl.col("kept").mean()).sort("step")
        name = f"layer {layer['layer'] + 1}"
        lines.append(_line(_at(found, window, layer, rows["step"].to_numpy()), rows["kept"], name, i, stairs=True))
        told.append(f"{name} on average {100 * layer.get('attending', 0.0):.0f} %")
    over = "the three windows" if alike else which(found, window)
    words = f"How often the query of a {found.unit} attends, over all heads and {over}."
    y = Axis("queries that attend (%)", zero=True, percent=True)
    panel = Panel(tuple(lines), _time(found), y)
    return Chart("kept", "Kept queries over time", words, f"{words} {', '.join(told)}.", (panel,), half=True)


def lengths(found: Insight, window: int) -> Chart | None:
    """How many tokens go on after each layer; nothing where none of them distils."""
    layers = found.layers
    if not any(layer.get("after") != layer.get("tokens") for layer in layers):
        return None
    lines, told = [], []
    for i, stack in enumerate(sorted({layer.get("stack", 0) for layer in layers})):
        own = [layer for layer in layers if layer.get("stack", 0) == stack]
        length = [own[0]["tokens"], *(layer["after"] for layer in own)]
        name = f"stack {stack + 1}" if len(own) < len(layers) else "tokens"
        lines.append(_line(np.arange(len(length)), np.array(length), name, i, dots=True))
        told.append(" → ".join(map(str, length)))
    words = f"Distilling halves the sequence between layers: {'; '.join(told)} tokens."
    panel = Panel(tuple(lines), Axis("layers passed", whole=True), Axis("tokens", zero=True))
    return Chart("lengths", "Length after each layer", words, words, (panel,), half=True)


# Weights ----------------------------------------------------------------------------------------------------


def weights(found: Insight, window: int) -> Chart | None:
    """The share that the last output gives to each step, by layer and head."""
    layers = _with(found, "weight")
    if not layers:
        return None
    panels, told = [], []
    for layer in layers:
        rows = found.of("weight", window, layer=layer["layer"]).sort("head", "step")
        heads = rows["head"].n_unique()
        z = rows["value"].to_numpy().astype(np.float64).reshape(heads, -1)
        x = _at(found, window, layer, np.arange(z.shape[1]))
        marks = (_shades(x, 100 * z, "weight (%)")._replace(low=0.0, high=100 * float(z.max())),)
        title = f"layer {layer['layer'] + 1}"
        panels.append(Panel(marks, _time(found), _heads(heads), title, height=min(1.2 + 0.14 * heads, 3.4)))
        told.append(f"{title}: at most {100 * z.max():.1f} %, effectively {number(layer.get('effective', 0.0))} steps")
    words = f"What the last output of each layer takes from the {found.unit}s before it, in {which(found, window)}."
    words += " The weights of a head sum to 100 %."
    return Chart("weights", "Weights over time", words, f"{words} {'; '.join(told)}.", tuple(panels), columns=2)


def newest(found: Insight, window: int) -> Chart | None:
    """The share of the weight that the newest steps hold, as the window goes on."""
    layers = _with(found, "newest")
    if not layers:
        return None
    panels, told = [], []
    for layer in layers:
        rows = found.of("newest", window, layer=layer["layer"])
        mean = rows.group_by("k", "step").agg(pl.col("value").mean()).sort("k", "step")
        lines = []
        for i, (key, part) in enumerate(mean.partition_by("k", as_dict=True, maintain_order=True).items()):
            k = key[0]
            name = f"the newest {k} {found.unit}s" if k != 1 else f"the newest {found.unit}"
            lines.append(_line(_at(found, window, layer, part["step"].to_numpy()), part["value"], name, i))
            told.append(f"layer {layer['layer'] + 1}, {name}: {100 * part['value'][-1]:.0f} % at the end")
        y = Axis("share of the weight (%)", zero=True, percent=True)
        panels.append(Panel(tuple(lines), _time(found), y, f"layer {layer['layer'] + 1}", height=2.0))
    words = f"How much of each output the newest {found.unit}s hold, the mean over heads, in {which(found, window)}."
    return Chart("newest", "Share of the newest", words, f"{words} {'; '.join(told)}.", tuple(panels), half=True)


def effective(found: Insight, window: int) -> Chart | None:
    """Over how many steps each output spreads its weight."""
    layers = _with(found, "effective")
    if not layers:
        return None
    lines, told, x = [], [], np.arange(0)
    for i, layer in enumerate(layers):
        rows = found.of("effective", window, layer=layer["layer"]).group_by("step").agg(pl.col("value").mean())
        rows = rows.sort("step")
        x, name = _at(found, window, layer, rows["step"].to_numpy()), f"layer {layer['layer'] + 1}"
        lines.append(_line(x, rows["value"], name, i))
        told.append(f"{name} {number(rows['value'][-1])} at the end")
        all_ = rows["step"].to_numpy() + 1
    equal = Line(x, all_, "all equally", "muted", "dot")
    words = f"Over how many {found.unit}s an output spreads its weight (1 / Σ w², the mean over heads), in "
    words += f"{which(found, window)}; the dotted line is the same weight for all so far."
    y = Axis(f"effective {found.unit}s", zero=True)
    panel = Panel((*lines, equal), _time(found), y, height=2.0 * min(len(layers), 2))
    alt = f"{words} {', '.join(told)}."
    return Chart("effective", f"Effective number of {found.unit}s", words, alt, (panel,), half=True)


# How far back -----------------------------------------------------------------------------------------------


def reach(found: Insight, window: int) -> Chart | None:
    """How the gradient of the encoder's output falls with the age of a token; the reach by construction."""
    rows = found.of("token")
    if not rows.height:
        return None
    last = found.reach.get("of") == "last"
    y = f"‖∂ {'last output' if last else 'output'} / ∂ {found.unit}‖"
    falls, shares, told = [], [], []
    for i, name in enumerate(PICKS[: rows["window"].n_unique()]):
        norms = found.of("token", i).sort("step")["value"].to_numpy().astype(np.float64)
        newest_first = np.flip(norms)
        total = newest_first.sum()
        x = _at(found, i, {}, np.arange(len(norms)))
        falls.append(_line(x, np.where(norms > 0, norms, np.nan), name, i))
        if total > 0:
            share = newest_first.cumsum() / total
            shares.append(_line(np.arange(1, len(norms) + 1), share, name, i))
            told.append(f"{name}: 90 % in the newest {int((share < 0.9).sum()) + 1}")
    most = found.reach.get("construction")
    panels = [Panel(tuple(falls), _time(found), Axis(y, "log"))]
    if found.by_steps or found.unit == "event":
        bound = (Rule(most, label=f"by construction: {most}"),) if isinstance(most, int) and _alike(found) else ()
        x_axis = Axis(f"newest {found.unit}s", zero=True)
        panels.append(Panel((*shares, *bound), x_axis, Axis("share of the gradient (%)", zero=True, percent=True)))
    words = "How far back the encoder reaches, measured by gradients: their norms, and on the right what the newest "
    words += f"{found.unit}s hold of their sum. By construction: {found.reach.get('rule', '')}."
    if not last:
        words += f" It looks both ways, so the gradient is that of all it gives out for each {found.unit}."
    alt = f"{words} {'; '.join(told)}."
    return Chart("reach", "Receptive field", words, alt, tuple(panels), columns=2)


def past(found: Insight, window: int) -> Chart | None:
    """How the forecast of a step depends on each step of the past."""
    rows = found.of("past", window)
    if not rows.height:
        return None
    lines, told = [], []
    for i, (key, part) in enumerate(rows.sort("k", "step").partition_by("k", as_dict=True).items()):
        values = part["value"].to_numpy().astype(np.float64)
        x = np.arange(len(values)) - len(values)
        lines.append(_line(x, np.where(values > 0, values, np.nan), f"step {key[0]} ahead", i))
        told.append(f"step {key[0]} ahead most on {int(x[values.argmax()])}")
    words = (
        f"How much the forecast of a step moves with each step of the past, in {which(found, window)}: the gradient "
    )
    words += "through the whole model, over all channels, both scaled; normalisation held as it is."
    panel = Panel(tuple(lines), Axis("step, from the cutoff"), Axis("‖∂ forecast / ∂ past‖", "log"))
    return Chart("past", "What the forecast depends on", words, f"{words} {', '.join(told)}.", (panel,))


def channels(found: Insight, window: int) -> Chart | None:
    """The same for each channel, where there are several."""
    rows, names = found.of("channel", window), [str(name) for name in found.facts.get("channels") or []]
    if len(names) < 2 or not rows.height:
        return None
    held = rows.sort("k", "step")
    z = held["value"].to_numpy().astype(np.float64).reshape(held["k"].n_unique(), -1)
    at = [k for k in range(len(z)) if k < len(names)]
    z = z[at]
    x = np.arange(z.shape[1]) - z.shape[1]
    each = shortened([names[k] for k in at])
    words = f"How much the whole forecast moves with each channel at each step of the past, in {which(found, window)}."
    strongest = [f"{each[k]} {number(float(np.sqrt((z[k] ** 2).sum())))}" for k in np.argsort(-(z**2).sum(1))[:5]]
    y = Axis("", "category", down=True)
    marks = (Cells(x, each, z, "‖∂ forecast / ∂ past‖", low=0.0, high=float(z.max())),)
    panel = Panel(marks, Axis("step, from the cutoff"), y, height=min(1.3 + 0.16 * len(each), 6.0))
    return Chart("depends", "By channel", words, f"{words} Most: {', '.join(strongest)}.", (panel,))


# Bricks -----------------------------------------------------------------------------------------------------


def _alike(found: Insight) -> bool:
    """Whether all windows are of one length."""
    return len({found.length(k) for k in range(len(found.windows))}) == 1


def _with(found: Insight, part: str) -> list[Facts]:
    """The layers that have rows of a part."""
    there = set(found.of(part)["layer"].unique().to_list())
    return [layer for layer in found.layers if layer.get("layer") in there][:MOST_LAYERS]


def _at(found: Insight, window: int, layer: Facts, place: np.ndarray) -> np.ndarray:
    """Where tokens stand on the axis of time: steps from the cutoff, or numbers of tokens from 1."""
    if found.unit == "token":
        return place + 1
    return layer.get("offset", 0) + place * layer.get("stride", 1) - found.length(window)


def _shades(x: np.ndarray, z: np.ndarray, label: str) -> Cells:
    """Rows of heads; of a long window each shade is the mean of neighbours."""
    each = -(-z.shape[1] // COLUMNS)
    if each > 1:
        starts = np.arange(0, z.shape[1], each)
        size = np.diff(np.append(starts, z.shape[1]))
        z, x = np.add.reduceat(z, starts, 1) / size, np.add.reduceat(x, starts) / size
    return Cells(x, np.arange(1, len(z) + 1), z, label)


def _heads(count: int) -> Axis:
    each = -(-count // 12)
    return Axis("head", ticks=tuple((float(k), str(k)) for k in range(1, count + 1, each)))


def _time(found: Insight) -> Axis:
    if found.unit == "token":
        what = {"patches": "patch", "channels": "channel, then calendar field"}.get(str(found.facts.get("layout")))
        return Axis(f"{what or 'token'} (number)")
    return Axis(f"{found.unit}, from the {'cutoff' if found.by_steps else 'end'}")


def _line(
    x: np.ndarray, y: np.ndarray | pl.Series, name: str, i: int, *, stairs: bool = False, dots: bool = False
) -> Line:
    return Line(x, y, name, ROLES[i % len(ROLES)], DASHES[i % len(DASHES)], stairs=stairs, dots=dots)  # type: ignore[arg-type]
