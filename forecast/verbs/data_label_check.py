"""forecast data check of labelled series: claims of the card beside facts of its files, and its parts."""

from collections.abc import Sequence

from forecast.data.label_card import FORMATS, LabelCard, adapted, only_described
from forecast.data.label_facts import label_facts
from forecast.data.label_split import VAL, cut, split_labelled
from forecast.data.labelled import Labelled, read_labelled, recoded
from forecast.data.read import locate, read_file, sha256
from forecast.errors import DataError, ForecastError
from forecast.verbs.data_check import Row, differs, names, same
from forecast.verbs.data_labelled import described, title
from forecast.verbs.data_table import show_table


def check_labelled(name: str, words: Sequence[str]) -> int:
    """Print claims beside facts; a fact that contradicts the card is a DataError after the table."""
    card, paths, folder, notes = described(name, words)
    if not card.files:
        raise only_described(card)
    rows: list[Row] = []
    tables: dict[str, Labelled] = {}
    fault: ForecastError | None = None
    for i, file in enumerate(card.files):
        place = paths[i] if paths else locate(card, file, folder)
        size, digest = place.stat().st_size, sha256(place)
        rows += [
            Row("file", title(card, file.path), str(place), True),
            same("bytes", file.bytes, size),
            Row("sha256", file.sha256[:16], digest[:16], digest == file.sha256 if file.sha256 else None),
        ]
        try:
            frame = adapted(card, read_file(place, notes, FORMATS), place.name)
            labelled = read_labelled(frame, card.columns(frame.columns), file.path, notes=notes)
        except ForecastError as error:
            fault = fault or error
            rows.append(Row("readable", "yes", "no", False))
            continue
        rows += [same("steps", file.rows, frame.height), *_contents(card, labelled, frame.columns)]
        tables[file.path] = labelled
    if fault is None:
        rows += _parts(card, tables)
    show_table(("fact", "card", "file", ""), [(*row[:3], row.verdict) for row in rows])
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    if fault:
        raise fault
    differs(card.name, rows)
    return 0


def _contents(card: LabelCard, labelled: Labelled, columns: Sequence[str]) -> list[Row]:
    """Series, lengths, channels, missing values, classes."""
    facts = label_facts(labelled)
    low, middle, high = facts.lengths
    extra = [c for c in columns if c not in (card.id, card.time, card.label, *labelled.channels)]
    flat = f", constant: {', '.join(facts.constant[:4])}" if facts.constant else ""
    bare = f", {facts.unlabelled:,} series without" if facts.unlabelled else ""
    return [
        Row(
            "channels", f"{len(card.channels) or 'all'}", f"{facts.channels:,}{names(', not used', extra)}{flat}", True
        ),
        Row("series", "", f"{facts.series:,}"),
        Row("steps of a series", "", f"{low:,} to {high:,}, median {middle:,}" if low < high else f"{low:,}"),
        Row("missing values", "", f"{facts.missing:.2%}" if facts.missing else "none"),
        Row("classes", "", _classes(facts.classes) + bare, False if bare else None),
    ]


def _classes(counts: dict[str, int]) -> str:
    """How many classes have a series, and how many series the least and the greatest of them have."""
    there = [count for count in counts.values() if count]
    if not there:
        return "none"
    return (
        f"{len(there):,}, of {min(there):,} to {max(there):,} series"
        if min(there) < max(there)
        else (f"{len(there):,}, of {there[0]:,} series each")
    )


def _parts(card: LabelCard, tables: dict[str, Labelled]) -> list[Row]:
    """Series and classes of each part; a class of another part that the training does not have differs."""
    claim = {name: str(value) if not isinstance(value, list) else f"{len(value):,} ids" for name, value in
             card.splits.items()}  # fmt: skip
    try:
        parts = (
            {part: tables[path] for part, path in card.splits.items()}
            if card.by_files
            else split_labelled(next(iter(tables.values())), card.splits, 1)
        )
        there = [name for name, count in zip(parts["train"].classes, parts["train"].counts, strict=True) if count]
        parts = {part: recoded(labelled, there, part) for part, labelled in parts.items()}
    except DataError as fault:
        return [Row("splits", ", ".join(f"{k} {v}" for k, v in claim.items()), fault.found, False)]
    if "val" not in parts:
        parts |= cut(parts["train"], VAL, 1)
        claim["val"] = f"{VAL:.0%} of train"
    rows = []
    for name in ("train", "val", "test"):
        counts = dict(zip(parts[name].classes, parts[name].counts.tolist(), strict=True))
        rows.append(Row(name, claim[name], f"{len(parts[name]):,} series; classes: {_classes(counts)}", True))
    return rows
