"""The controls and tables of the errors page."""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, View
from forecast.dashboards.app.sources import Card
from forecast.dashboards.charts.shared import moment
from forecast.dashboards.charts.style import count, number
from forecast.dashboards.series.errors import Subject, Subjects, measured, unit
from forecast.dashboards.series.residuals import Residuals

LISTED: Final = 100  # series in the list at once
PATH: Final = "/errors"


def names(view: View, ids: Sequence[str]) -> dict[str, str]:
    """What the chosen runs are called: by model; by seed, or by the end of their id, where two have the same."""
    found = {card.id: card for card in view.sources.cards() if card.id in ids}
    models = [card.model for card in found.values()]
    seeds = [(card.model, card.seed) for card in found.values()]
    made = {id: id for id in ids}
    for id, card in found.items():
        alone = seeds.count((card.model, card.seed)) == 1
        more = "" if models.count(card.model) == 1 else f" · seed {card.seed}" if alone else f" · {id[-8:]}"
        made[id] = f"{card.model}{more}"
    return made


def runs(view: View, there: Sequence[Card], asked: Sequence[str], most: int) -> Node:
    """The list of runs, those of the same data first."""
    data = next((card.dataset for card in there if card.id == asked[0]), "")
    options = [
        (card.id, f"{card.dataset} · {card.model} · {card.horizon} steps · seed {card.seed} · {card.started[:16]}")
        for card in sorted(there, key=lambda card: card.dataset != data)
    ]
    lost = [(id, id) for id in asked if id not in {card.id for card in there}]
    return kit.choose("run", f"Runs, up to {most} of the same data", [*options, *lost], view, many=True, other=asked[0])


def channel(view: View, whole: Residuals | None) -> Node:
    """The list of channels, where there are several."""
    if whole is None or len(whole.channels) < 2:
        return None
    options = [(name, name) for name in whole.channels]
    return kit.choose("channel", "Channel", options, view, drops=("page", "seriespage"))


def series(view: View, whole: Residuals | None) -> list[Node]:
    """A search and a list of what it finds, the hardest first; nothing for a single series."""
    if whole is None or whole.series_count < 2:
        return []
    here, asked = view.one("series"), view.one("find")
    rows = whole.series.reverse().filter(pl.col("mse").is_finite()).select("unique_id", "mse")
    matched = rows.filter(_matches(asked)) if asked else rows
    listed = matched.head(LISTED).rows()
    if here and here not in [name for name, _ in listed]:
        listed = [*rows.filter(pl.col("unique_id") == here).rows(), *listed]
    options = [(name, f"{name} · MSE {number(mse, 3)}") for name, mse in listed]
    label = f"Series, {count(matched.height)} of {count(whole.series_count)}"
    return [
        kit.search("find", "Find a series", view, hint="part of its name", drops=("seriespage",)),
        kit.choose("series", label, options, view),
    ]


def _matches(part: str) -> pl.Expr:
    return pl.col("unique_id").str.to_lowercase().str.contains(part.lower(), literal=True)


def facts(subjects: Subjects) -> Node:
    """What the figures are of."""
    held = measured(subjects)
    if not held:
        return None
    factors, word = unit(subjects)
    first = held[0][1]
    choice = first.choice
    rows = [
        ("Channel", choice.channel or (f"all {len(first.channels)}" if len(first.channels) > 1 else first.channels[0])),
        ("Series", choice.series or (f"all {count(first.series_count)}" if first.series_count > 1 else None)),
        ("Test targets", f"{moment(first.first)} to {moment(first.last)}"),
    ]
    for (each, found), factor in zip(held, factors, strict=True):
        said = f"{number(found.bias * factor, 3)} ± {number(found.sd * factor, 3)} {word}".strip()
        rows.append((f"Mean error, {each.name}", f"{said}, {count(found.n)} errors (forecast − actual)"))
    return kit.box(kit.facts(rows))


class Rows(Sequence[Sequence[Node]]):
    """Rows of a table that are made when they are shown: of 100,000 series one sees fifty."""

    def __init__(self, frame: pl.DataFrame, make: Any) -> None:
        self.frame, self.make = frame, make

    def __len__(self) -> int:
        return self.frame.height

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self.make(row) for row in self.frame[at].iter_rows(named=True)]
        return self.make(self.frame.row(at, named=True))


SORTS: Final = {"series": "unique_id", "mse": "mse", "naive": "naive_mse", "ratio": "ratio", "mae": "mae",
                "bias": "bias", "inside": "inside_90", "n": "n"}  # fmt: skip


def ranked(subjects: Subjects, view: View) -> pl.DataFrame:
    """The series of the first run, as the address sorts and filters them, with the MSE of the others as mse1, mse2."""
    held = measured(subjects)
    frame = held[0][1].series.with_columns((pl.col("mse") / pl.col("naive_mse")).alias("ratio"))
    for k, (_, found) in enumerate(held[1:], 1):
        more = found.series.select("unique_id", pl.col("mse").alias(f"mse{k}"))
        frame = frame.join(more, on="unique_id", how="left", maintain_order="left")
    if find := view.one("find"):
        frame = frame.filter(_matches(find))
    asked = view.one("seriessort", "-mse")
    key, down = asked.removeprefix("-"), asked.startswith("-")
    sorts = SORTS | {f"mse{k}": f"mse{k}" for k in range(1, len(held))}
    column = sorts.get(key, "mse")
    column, down = (column, down) if column in frame.columns else ("mse", True)
    if frame[column].dtype.is_float():
        frame = frame.with_columns(pl.col(column).fill_nan(None))
    return frame.sort(column, "unique_id", descending=[down, False], nulls_last=True)


def series_table(subjects: Subjects, view: View) -> Node:
    """Every series of the first run with its errors; a name leads to its own figures, a link to its forecasts."""
    held = measured(subjects)
    if not held or held[0][1].series_count < 2 or held[0][1].choice.series:
        return None
    first, naive = held[0][0], held[0][0].run.naive
    frame = ranked(subjects, view)
    if not frame.height:
        return kit.note(f"No series has “{view.one('find')}” in its name; clear the search to see all.")
    inside = "inside_90" in frame.columns and frame["inside_90"].is_finite().any()
    columns = [
        kit.Column("series", "Series", number=False),
        kit.Column("mse", f"MSE, {first.name}", title="mean squared error, scaled"),
        *(kit.Column(f"mse{k}", f"MSE, {each.name}") for k, (each, _) in enumerate(held[1:], 1)),
        kit.Column("naive", f"MSE, {naive}"),
        kit.Column("ratio", f"Against {naive}", title="its MSE as a share of that of the naive forecast"),
        kit.Column("mae", "MAE", title="mean absolute error, scaled"),
        kit.Column("bias", "Mean error", title="forecast − actual, scaled"),
        *([kit.Column("inside", "In 90 % interval")] if inside else []),
        kit.Column("n", "Errors", title="scored values"),
        kit.Column("look", "Forecasts", number=False, sorts=False),
    ]
    ids = [id for id in view.query.get("run", ())]

    def row(facts: dict[str, Any]) -> list[Node]:
        name = str(facts["unique_id"])
        kept = {**view.query, "series": name, "seriespage": ""}
        return [
            kit.link(name, PATH, **kept),
            number(facts["mse"]),
            *(number(facts[f"mse{k}"]) for k in range(1, len(held))),
            number(facts["naive_mse"]),
            _percent(facts["ratio"]),
            number(facts["mae"]),
            number(facts["bias"], 3),
            *([_percent(facts["inside_90"])] if inside else []),
            count(facts["n"]),
            kit.link("look", "/explorer", run=ids or [first.run.path.name], series=name, channel=view.one("channel")),
        ]

    told = "Errors by series, scaled"
    return kit.table(told, columns, Rows(frame, row), view, PATH, prefix="series")


def channel_table(subjects: Subjects, view: View) -> Node:
    """Every channel of the first run with its errors; a name leads to its own figures."""
    held = measured(subjects)
    if not held or len(held[0][1].channels) < 2 or held[0][1].choice.channel:
        return None
    first, naive = held[0][0], held[0][0].run.naive
    columns = [
        kit.Column("channel", "Channel", number=False, sorts=False),
        *(kit.Column(f"c{k}", f"MSE, {each.name}", sorts=False) for k, (each, _) in enumerate(held)),
        kit.Column("cn", f"MSE, {naive}", sorts=False),
        kit.Column("cm", f"MAE, {first.name}", sorts=False),
        kit.Column("cb", "Mean error", sorts=False),
    ]
    tables = [{row["channel"]: row for row in found.channel.iter_rows(named=True)} for _, found in held]
    rows = []
    for name in reversed(held[0][1].channel["channel"].to_list()):
        mine = tables[0][name]
        rows.append([
            kit.link(name, PATH, **{**view.query, "channel": name, "seriespage": ""}),
            *(number(table[name]["mse"]) if name in table else "–" for table in tables),
            number(mine["naive_mse"]),
            number(mine["mae"]),
            number(mine["bias"], 3),
        ])  # fmt: skip
    return kit.table("Errors by channel, scaled, the hardest first", columns, rows, view, sort=False, prefix="channel")


def _percent(share: object) -> str:
    good = isinstance(share, int | float) and share == share
    return f"{100 * share:.1f}\u00a0%" if good else "–"  # type: ignore[operator]


__all__ = ["Subject", "channel", "channel_table", "facts", "names", "ranked", "runs", "series", "series_table"]
