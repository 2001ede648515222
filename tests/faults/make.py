"""Files and folders with one fault each, and a tiny finished run."""

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from forecast.artifacts import Run

from .case import Maker

ROWS = 100
FIRST = datetime(2024, 1, 1)


def hours(count: int = ROWS, first: datetime = FIRST) -> list[str]:
    return [f"{first + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(count)]


def rows(count: int = ROWS, first: datetime = FIRST) -> list[str]:
    """Lines of a plain csv without its header."""
    return [f"{stamp},{i % 24 + i / 100}" for i, stamp in enumerate(hours(count, first))]


def text(lines: Sequence[str] | None = None, head: str = "ds,y") -> str:
    return "\n".join([head, *(rows() if lines is None else lines)]) + "\n"


def put(content: str | bytes, name: str = "f.csv") -> Maker:
    """A file of these bytes."""
    raw = content.encode() if isinstance(content, str) else content

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)

    return make


def csv(lines: Sequence[str] | None = None, head: str = "ds,y", name: str = "f.csv") -> Maker:
    return put(text(lines, head), name)


def changed(row: int, line: str) -> Maker:
    """The plain csv with another line for data row `row`, counted from 1."""
    return csv([line if i == row else old for i, old in enumerate(rows(), 1)])


def values(value: Callable[[int], object], head: str = "ds,y") -> Maker:
    """The plain csv with other values."""
    return csv([f"{stamp},{value(i)}" for i, stamp in enumerate(hours())], head)


def stamps(stamp: Callable[[int], object], count: int = ROWS) -> Maker:
    """The plain csv with other stamps."""
    return csv([f"{stamp(i)},{i % 24}" for i in range(count)])


def local(zone: str, first: datetime, count: int = 200) -> Maker:
    """Hours as a clock in `zone` shows them."""
    utc = pl.Series(hours(count, first)).str.to_datetime("%Y-%m-%d %H:%M", time_zone="UTC")
    shown = utc.dt.convert_time_zone(zone).dt.strftime("%Y-%m-%d %H:%M").to_list()
    return csv([f"{stamp},{i % 24}" for i, stamp in enumerate(shown)])


def frame(**columns: Any) -> pl.DataFrame:
    """The plain table; `columns` replace or join its columns."""
    ds = pl.Series(hours()).str.to_datetime("%Y-%m-%d %H:%M")
    return pl.DataFrame({"ds": ds, "y": [i % 24 + i / 100 for i in range(ROWS)]}).with_columns(
        *(value if isinstance(value, pl.Expr) else pl.Series(name, value) for name, value in columns.items())
    )


def bytes_of(table: pl.DataFrame) -> bytes:
    made = io.BytesIO()
    table.write_parquet(made)
    return made.getvalue()


def parquet(table: pl.DataFrame, name: str = "f.parquet") -> Maker:
    return put(bytes_of(table), name)


def damaged_parquet() -> bytes:
    """Compressed pages with other bytes in their middle."""
    raw = bytearray(bytes_of(pl.DataFrame({"y": [i % 240 / 8 for i in range(5000)]})))
    raw[200:230] = bytes(30)
    return bytes(raw)


def gzipped() -> bytes:
    return gzip.compress(text().encode())


def workbook() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("f.csv", text())
    return made.getvalue()


def both(*makers: Maker) -> Maker:
    def make(folder: Path) -> None:
        for each in makers:
            each(folder)

    return make


CARD = """\
name: mine
kind: series
files: [{path: f.csv}]
time: {column: ds, freq: h}
channels: [{name: y}]
"""


def card(old: str = "", new: str = "") -> Maker:
    """A card of the user's own, with one text replaced, and its file."""
    assert old in CARD
    return both(csv(), put(CARD.replace(old, new) if old else CARD, "c.yaml"))


# Run folders


def flip(folder: Path, name: str) -> None:
    """One bit of the first digit after the middle of a file of the run: JSON stays JSON."""
    path = folder / "run" / name
    raw = bytearray(path.read_bytes())
    raw[next(i for i in range(len(raw) // 2, len(raw)) if chr(raw[i]).isdigit())] ^= 1
    path.write_bytes(raw)


def in_run(change: Callable[[Path], None]) -> Maker:
    """The plain csv, and a change to the copied run."""
    return both(csv(), lambda folder: change(folder / "run"))


def forged(name: str, change: Callable[[Any], Any]) -> Maker:
    """Another content of a JSON file, vouched for by a new manifest: a run of another program or of ill will."""

    def make(run: Path) -> None:
        data = json.loads((run / name).read_text(encoding="utf-8"))
        Run(run).write(name, change(data))
        Run(run).seal()

    return in_run(make)


def moved(old: str, new: str) -> Maker:
    """A file or folder at another place."""

    def make(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return make


def interrupted(config: str | None = None) -> Maker:
    """A run folder with a checkpoint and without a manifest."""

    def make(run: Path) -> None:
        (run / "MANIFEST.json").unlink()
        if config is not None:
            (run / "config.json").write_text(config, encoding="utf-8")

    return in_run(make)


def without(name: str) -> Maker:
    return in_run(lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink())
