"""forecast data convert FILE to=DIR: event sequences as others keep them, as tables with a card."""

from collections.abc import Sequence
from typing import Final

from forecast.errors import UsageError, nearest
from forecast.verbs.data_table import show_table

OPTIONS: Final = ("to", "name", "unit")


def convert(source: str, words: Sequence[str]) -> int:
    """Write the parts and their card; print what is in them and how to go on. Returns the exit code."""
    from forecast.data.convert import convert as written
    from forecast.data.read import absolute

    options = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in OPTIONS:
            raise UsageError(f"'{key}' is not an option of `forecast data convert`", nearest(key, OPTIONS))
        if not value:
            raise UsageError(f"{key} has no value", f"expected {key}=VALUE", "see `forecast data --help`")
        options[key] = value
    if "to" not in options:
        raise UsageError("there is no folder to write to", "expected to=DIR", f"forecast data convert {source} to=DIR")
    to = options.pop("to")
    notes: list[str] = []
    done = written(absolute(source), absolute(to), notes=notes, **options)
    rows = [(part, *(f"{count:,}" for count in counts)) for part, counts in done.parts.items()]
    show_table(("part", "sequences", "events", "marks"), rows, right=(1, 2, 3))
    if done.card.unit == "unit":
        notes.append("the unit of time is not told; unit=hour, for example, names it")
    if done.grid.step:
        notes.append(f"the times lie on a grid of {done.grid.step:.6g} {done.card.unit}s, which the card keeps")
    elif done.zero:
        notes.append(f"{done.zero:,} gaps of 0 have no log: write grid or floor into the card")
    for note in notes:
        print(f"note: {note}")
    print(f"saved: {to}/card.yaml; look at it with: forecast data show {to}/card.yaml")
    return 0
