"""Small tables for the data tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.data.card import Card, CardFile, Channel, TimeColumn
from forecast.data.read import from_frame
from forecast.data.table import Series


def card(freq: str = "h", *, channels: tuple[str, ...] = ("y",), id: str | None = None, **changes: object) -> Card:
    """A card of a table with the columns ds, the channels, and maybe an id."""
    facts: dict[str, object] = {
        "name": "toy",
        "kind": "series",
        "about": "",
        "source": "",
        "licence": "",
        "files": (CardFile("toy.csv"),),
        "time": TimeColumn("ds", freq),
        "id": id,
        "channels": tuple(Channel(c) for c in channels),
        "season": 24,
        "missing": (),
        "splits": {"train": 0.7, "val": 0.1, "test": 0.2},
        **changes,
    }
    return Card(**facts)  # type: ignore[arg-type]


def toy(lengths: tuple[int, ...], channels: int = 1, seed: int = 0, freq: str = "h") -> Series:
    """Random hourly series of the given lengths."""
    rng = np.random.default_rng(seed)
    hour = np.timedelta64(1, "h")
    names = tuple(f"c{i}" for i in range(channels))
    parts = [
        pl.DataFrame(
            {
                "id": [f"s{s}"] * n,
                "ds": np.datetime64("2024-01-01T00", "us") + np.arange(n) * hour,
                **{c: rng.normal(3.0 * s, 2.0, n) for c in names},
            }
        )
        for s, n in enumerate(lengths)
    ]
    return from_frame(card(freq, channels=names, id="id"), pl.concat(parts), "toy")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write text or bytes to a file and return its path."""

    def write(content: str | bytes, name: str = "my.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
