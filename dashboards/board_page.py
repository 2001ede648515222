"""The leaderboard written: Markdown to read anywhere, CSV for programs, HTML like the report of a run."""

import csv
import io
import math
import statistics
from collections.abc import Iterator, Sequence

from forecast.dashboards.board import Group, Interval, Line
from forecast.dashboards.page import note, page, section, table, text
from forecast.dashboards.style import count, duration, number

TITLES = (
    "val MSE", "test MSE", "test MAE", "MSE − none", "streamed ÷", "state", "parameters", "fit", "memory", "seeds",
)  # fmt: skip
HOW = (
    "Scaled scores, mean ± standard deviation over seeds; lines in the order of the validation score, by which one "
    "chooses; ✓ is the best validation of its model. MSE − none: the difference to the model without mixing, all else "
    "equal where such a run is there, with its 95 % interval: a bootstrap over blocks of neighbouring test windows, "
    "and over the seeds where there are several. ▼ and ▲: the interval excludes 0. Streamed ÷: "
    "the MSE of one long stream in parts of that of windows, and the state it keeps for a series."
)
COLUMNS = (
    "dataset", "context", "horizon", "setting", "kind", "model", "embed", "norm", "head", "variant", "chosen", "seeds",
    "val_mse", "val_mse_sd", "test_mse", "test_mse_sd", "test_mae", "test_mae_sd", "delta_mse", "delta_mse_low",
    "delta_mse_high", "delta_mae", "delta_mae_low", "delta_mae_high", "against", "interval", "parameters",
    "streamed_mse", "streamed_ratio", "streamed_steps", "bytes_per_series", "fit_seconds", "peak_mib", "epochs",
    "steps", "test_windows", "runs",
)  # fmt: skip


def spread(values: Sequence[float]) -> str:
    """`0.3734 ± 0.0012`; without the deviation where there is one seed."""
    mean = statistics.fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return number(mean)
    return f"{number(mean)} ± {statistics.stdev(values):.2g}"


def difference(found: Interval | None) -> str:
    """`−0.0031 [−0.0040, −0.0021] ▼`."""
    if found is None or not math.isfinite(found.value):
        return "–"
    if found.low is None or found.high is None:
        return signed(found.value)
    mark = " ▼" if found.high < 0 else " ▲" if found.low > 0 else ""
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]{mark}"


def signed(value: float) -> str:
    size = f"{abs(value):.4f}"
    return "0.0000" if float(size) == 0 else f"{'−' if value < 0 else '+'}{size}"


def name(line: Line) -> str:
    return " · ".join((*line.parts, *([line.variant] if line.variant else []))) + (" ✓" if line.chosen else "")


def cells(line: Line) -> list[str]:
    """The figures of a line, in the order of TITLES."""
    size, seconds, memory = line.fact("parameters"), line.fact("seconds", "fit"), line.fact("memory", "peak_mib")
    ratio, state = line.fact("stream", "ratio"), line.fact("stream", "bytes_per_series")
    return [
        spread(line.values("val")), spread(line.values("mse")), spread(line.values("mae")),
        difference(line.delta.get("mse")), "–" if ratio is None else f"{ratio:.4f}",
        "–" if state is None else f"{count(round(state))} B", "–" if size is None else count(round(size)),
        "–" if seconds is None else duration(seconds), "–" if memory is None else f"{memory:,.0f} MiB",
        " ".join(map(str, line.seeds)),
    ]  # fmt: skip


def rows(group: Group) -> Iterator[tuple[str, list[str]]]:
    """Every line of a table, the models named beside ours and the naive forecasts last."""
    for line in group.lines:
        yield name(line), cells(line)
    for title, mse, mae in (*group.beside, *group.naive):
        yield title, ["–", number(mse), number(mae), *["–"] * (len(TITLES) - 3)]


def facts(group: Group) -> str:
    """The sentence above a table."""
    return f"{count(group.windows)} test windows; blocks of {count(group.block)} windows in the bootstrap."


def markdown(title: str, groups: Sequence[Group]) -> str:
    parts = [f"# {_md(title)}", HOW]
    for group in groups:
        head = ["model · embed · norm · head", *TITLES]
        lines = [head, ["---", *["---:"] * len(TITLES)], *([_md(first), *rest] for first, rest in rows(group))]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {_md(group.setting.title)}", " ".join([facts(group), *group.notes]), drawn]
    return "\n\n".join(parts) + "\n"


def _md(words: str) -> str:
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def table_csv(groups: Sequence[Group]) -> str:
    """A row for each line and each naive forecast, numbers in full."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for number_, group in enumerate(groups):
        setting = group.setting
        shared = {"dataset": setting.dataset, "context": setting.context, "horizon": setting.horizon,
                  "setting": number_, "test_windows": group.windows}  # fmt: skip
        for line in group.lines:
            writer.writerow({**shared, **_record(line)})
        for kind, found in (("baseline", group.beside), ("naive", group.naive)):
            for title, mse, mae in found:
                writer.writerow({**shared, "kind": kind, "model": title, "test_mse": mse, "test_mae": mae})
    return out.getvalue()


def _record(line: Line) -> dict[str, object]:
    model, embed, norm, head = line.parts
    made: dict[str, object] = {
        "kind": "model", "model": model, "embed": embed, "norm": norm, "head": head, "variant": line.variant,
        "chosen": str(line.chosen).lower(), "seeds": " ".join(map(str, line.seeds)), "against": line.against,
        "interval": line.basis, "parameters": line.fact("parameters"),
        "streamed_mse": line.fact("stream", "mse"), "streamed_ratio": line.fact("stream", "ratio"),
        "streamed_steps": line.fact("stream", "steps"), "bytes_per_series": line.fact("stream", "bytes_per_series"),
        "fit_seconds": line.fact("seconds", "fit"), "peak_mib": line.fact("memory", "peak_mib"),
        "epochs": line.fact("epochs"), "steps": line.fact("steps"),
        "runs": " ".join(run.path.name for run in line.runs),
    }  # fmt: skip
    for key, column in (("val", "val_mse"), ("mse", "test_mse"), ("mae", "test_mae")):
        values = line.values(key)
        made[column] = statistics.fmean(values)
        made[f"{column}_sd"] = statistics.stdev(values) if len(values) > 1 else ""
    for key, found in line.delta.items():
        made |= {f"delta_{key}": found.value, f"delta_{key}_low": found.low, f"delta_{key}_high": found.high}
    return {key: "" if value is None else value for key, value in made.items()}


def html(title: str, groups: Sequence[Group]) -> str:
    """The page, in the dress of a run's report."""
    links = "".join(f'<li><a href="#s{k}">{text(group.setting.title)}</a></li>' for k, group in enumerate(groups))
    runs = sum(len(line.runs) for group in groups for line in group.lines)
    header = (
        f'<header><p class="eyebrow">Leaderboard</p><h1>{text(title)}</h1>'
        f'<p class="lead">{count(runs)} runs in {len(groups)} setting{"s" * (len(groups) != 1)}.</p>'
        f'<p class="verdict">{text(HOW)}</p><nav aria-label="Contents"><ul>{links}</ul></nav></header>'
    )
    body = [section(f"s{k}", group.setting.title, *_section(group)) for k, group in enumerate(groups)]
    foot = "<footer>Written by <code>forecast evaluate compare=…</code>; nothing is loaded from elsewhere.</footer>"
    return page(f"Leaderboard: {title}", [header, "<main>", *body, "</main>", foot])


def _section(group: Group) -> list[str]:
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in TITLES)
    head = f'<tr><th scope="col">model · embed · norm · head</th>{head}</tr>'
    widest = max((abs(edge) for line in group.lines if "mse" in line.delta
                  for edge in line.delta["mse"] if edge is not None), default=0.0)  # fmt: skip
    body = []
    for k, (title, figures) in enumerate(rows(group)):
        line = group.lines[k] if k < len(group.lines) else None
        shown = [f"<td>{text(figure)}</td>" for figure in figures]
        if line is not None and "mse" in line.delta:
            shown[3] = f"<td>{text(figures[3])}{_whisker(line.delta['mse'], widest)}</td>"
        kind = " class=model" if k == 0 and line is not None else ""
        body.append(f'<tr{kind}><th scope="row">{text(title)}</th>{"".join(shown)}</tr>')
    return [note(" ".join([facts(group), *group.notes])), table(group.setting.title, head, body)]


def _whisker(found: Interval, widest: float) -> str:
    """A difference drawn: the interval, its middle, and the line of no difference."""
    if found.low is None or found.high is None or not widest > 0:
        return ""
    low, high, middle = (60 + 56 * edge / widest for edge in (found.low, found.high, found.value))
    role = "ridge" if found.high < 0 else "seasonal" if found.low > 0 else "muted"
    return (
        '<br><svg width="120" height="10" viewBox="0 0 120 10" aria-hidden="true">'
        '<line x1="60" y1="0" x2="60" y2="10" stroke="var(--muted)" stroke-width="1"/>'
        f'<line x1="{low:.1f}" y1="5" x2="{high:.1f}" y2="5" stroke="var(--{role})" stroke-width="2"/>'
        f'<circle cx="{middle:.1f}" cy="5" r="3" fill="var(--{role})"/></svg>'
    )
