"""Pickles are read as data and nothing of them is run; what others keep becomes tables; JSON lines are bounded."""

import io
import json
import os
import pickle
import pickletools
import random
import subprocess
import sys
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forecast.data import convert as converting
from forecast.data import formats, unpickle
from forecast.data.convert import convert
from forecast.data.event_card import read_event_card, read_event_frames
from forecast.data.read import read_file
from forecast.data.unpickle import Numbers
from forecast.errors import DataError

Sequence = list[dict[str, Any]]


def sequence(count: int, step: float = 0.5, marks: int = 3) -> Sequence:
    return [
        {
            "time_since_start": i * step,
            "time_since_last_event": step if i else 0.0,
            "type_event": i % marks,
            "idx_event": i + 1,
        }
        for i in range(count)
    ]


PARTS = {
    "dim_process": 3,
    "train": [sequence(5), sequence(3)],
    "dev": [sequence(2)],
    "test": [sequence(4)],
    "args": None,
}


def load(tmp_path: Path, data: bytes) -> Any:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    return unpickle.unpickle(path)


# Reading pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_is_what_pickle_would_have_loaded(tmp_path: Path, protocol: int) -> None:
    value = {
        "ints": [0, -1, 255, 65_536, 2**40, 10**30],
        "floats": [0.5, -1e300, 1e-12],
        "text": ["", "é", "a\nb", "x" * 300],
        "others": [None, True, False, b"", b"\x00\xff"],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "long": list(range(3000)),
        "deep": [[[[{}]]]],
        3: {"shared": None},
    }
    value["again"] = value["text"]
    assert load(tmp_path, pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", ">f8", ">i4", "?"])
def test_numbers_of_numpy_are_decoded(tmp_path: Path, protocol: int, kind: str) -> None:
    array = np.array([0, 1, 3, 100], dtype=kind)
    for value in (array[1], array, array.reshape(2, 2), np.asfortranarray(array.reshape(2, 2)), array[:0]):
        found = load(tmp_path, pickle.dumps([value], protocol=protocol))[0]
        if isinstance(value, np.ndarray):
            assert isinstance(found, Numbers)
            assert found.numbers == value.ravel("K").tolist()
        else:
            assert found == value.item()


def test_a_pickle_of_python_2_is_read_as_latin_1(tmp_path: Path) -> None:
    """Protocol 0 and 2 as Python 2 with an old NumPy wrote them: its str, its names."""
    old = (
        b"(dp0\nS'train'\np1\n(lp2\n(lp3\n(dp4\nS'time_since_start'\np5\ncnumpy.core.multiarray\nscalar\np6\n"
        b"(cnumpy\ndtype\np7\n(S'f8'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nb"
        rb"S'\x00\x00\x00\x00\x00\x00\xe0?'"
        b"\np13\ntp14\nRp15\nsS'name'\nS'caf\\xe9'\nsaas."
    )
    assert load(tmp_path, old) == {"train": [[{"time_since_start": 0.5, "name": "café"}]]}
    assert load(tmp_path, b"\x80\x02}q\x00U\x04a\xe9b\x01q\x01I7\ns.") == {"aéb\x01": 7}


class Reduce:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


MARKER = "ran"
BAD = {
    "a command": pickle.dumps([Reduce(os.system, f"touch {MARKER}")]),
    "eval": pickle.dumps([Reduce(eval, f"open('{MARKER}', 'w')")]),
    "eval by protocol 0": f'cbuiltins\neval\n(S\'open("{MARKER}", "w")\'\ntR.'.encode(),
    "inst": f"(S'touch {MARKER}'\nios\nsystem\n.".encode(),
    "obj": f"(cos\nsystem\nS'touch {MARKER}'\no.".encode(),
    "an import": b"cantigravity\nx\n.",
    "getattr": pickle.dumps([Reduce(getattr, "x", "upper")]),
    "numpy's load": b"cnumpy\nload\n(S'x'\ntR.",
    "numpy's own runner": b"cnumpy.testing._private.utils\nrunstring\n(S'x=1'\n}tR.",
    "an object array": pickle.dumps(np.array([1, "a"], dtype=object)),
    "dates": pickle.dumps([datetime(2024, 1, 1)]),
    "dates of numpy": pickle.dumps(np.array(["2024-01-01"], dtype="M8[D]")),
    "an ordered dict": pickle.dumps(OrderedDict(a=1)),
    "a set": pickle.dumps({1, 2}, protocol=4),
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pname\n.",
    "build on a name": b"cnumpy\ndtype\n}S'__call__'\nS'x'\nsb.",
    "build on a list": b"](I1\nI2\ntb.",
    "reduce of a text": b"S'x'\n)R.",
    "a name of names": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "a name of numbers": b"\x80\x04K\x01K\x02\x93.",
    "a wide name": b"\x80\x04\x8c\x02os\x8c\x09sys\x1b[31m\n\x93.",
    "a tuple as a key": b"})Ns.",
    "a deep tuple as a key": b"}" + b")" + b"\x85" * 200_000 + b"Ns.",
    "more bytes than there are": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a long of 2 GB": b"\x8b\xff\xff\xff\x7f.",
    "a long text number": b"L" + b"9" * 100_000 + b"L\n.",
    "a memo that is empty": b"h\x07.",
    "many empty bytes": b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",
    "a scalar of two numbers": pickle.dumps(np.float64(1), protocol=4).replace(b"C\x08", b"C\x10"),
    "nothing": b"",
    "text": b"hello",
    "a page": b"<!doctype html><html></html>",
    "no end": b"]",
    "two values": b"]].",
    "no mark": b"u.",
    "an empty stack": b"a.",
}


@pytest.mark.parametrize("name", BAD)
def test_a_pickle_that_is_more_than_data_is_refused_and_nothing_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with pytest.raises(DataError) as told:
        load(tmp_path, BAD[name])
    assert not (tmp_path / MARKER).exists() and "antigravity" not in set(sys.modules) - before
    line = str(told.value)
    assert line.startswith("x.pkl ") and line.isprintable() and len(line) < 300


def test_what_the_pickle_names_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names (posix|nt)\.system; .*nothing of it was run"):
        load(tmp_path, BAD["a command"])


def test_memo_numbers_and_cycles_cost_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, b"Nr\xff\xff\xff\xff.") is None
    endless = load(tmp_path, b"]q\x00h\x00a.")
    assert endless[0] is endless
    assert load(tmp_path, b")" + b"\x85" * 300_000 + b"0}.") == {}


def test_bombs_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "OBJECTS", 1000)
    for one in (b"]", b"}", b")", b"(l", b"(d", b"(t", b")\x85"):
        with pytest.raises(DataError, match="makes more than 1,000 lists and dicts"):
            load(tmp_path, one * 1001 + b".")
    monkeypatch.setattr(unpickle, "BYTES", 10)
    with pytest.raises(DataError, match="has 12 bytes; expected up to 10"):
        load(tmp_path, b"S'12345678'.")


def test_a_pickle_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"train": [sequence(4)], "n": np.arange(3.0), "s": np.float64(2)}, protocol=4)
    for end in range(len(whole)):
        with pytest.raises(DataError):
            load(tmp_path, whole[:end])


def test_changed_bytes_are_data_or_refused(tmp_path: Path) -> None:
    rng = random.Random(1)
    wholes = [pickle.dumps({"train": [sequence(3)], "n": np.arange(3.0)}, protocol=p) for p in (0, 2, 4, 5)]
    for _ in range(1500):
        data = bytearray(rng.choice(wholes))
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            load(tmp_path, bytes(data))
        except DataError:
            continue


def test_every_opcode_is_known_or_refused(tmp_path: Path) -> None:
    """An opcode that a later Python adds makes objects until somebody has looked at it."""
    for opcode in pickletools.opcodes:
        if opcode.arg is None and opcode.name != "STOP":
            try:
                load(tmp_path, opcode.code.encode("latin-1") + b".")
            except DataError:
                continue


def test_the_unpickler_never_loads_pickle() -> None:
    code = (
        "import sys; from pathlib import Path; import forecast.data.unpickle as u;"
        "assert not any(hasattr(u, n) for n in ('pickle', 'loads', 'Unpickler'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Tables of what others keep


def read(folder: Path, part: str) -> list[tuple[Any, ...]]:
    return pl.read_parquet(folder / f"{part}.parquet").rows()


@pytest.mark.parametrize("form", ["pickle", "pickles", "rows", "lines", "json"])
def test_every_form_becomes_the_same_tables(form: str, tmp_path: Path) -> None:
    source = tmp_path / "given"
    source.mkdir()
    parts = {part: PARTS[part] for part in ("train", "dev", "test")}
    rows = {
        part: [{key: [event[key] for event in one] for key in ("time_since_start", "type_event")} for one in many]
        for part, many in parts.items()  # type: ignore[attr-defined]
    }
    if form == "pickle":
        source = source / "all.pkl"
        source.write_bytes(pickle.dumps(PARTS, protocol=2))
    elif form == "json":
        source = source / "all.json"
        source.write_text(json.dumps(PARTS))
    for part in parts if source.is_dir() else ():
        if form == "pickles":
            empty = {other: [] for other in parts if other != part}
            (source / f"{part}.pkl").write_bytes(pickle.dumps({"dim_process": 3, **empty, part: parts[part]}))
        elif form == "rows":
            (source / f"{part}.json").write_text(json.dumps(rows[part]))
        else:
            (source / f"{part}.jsonl").write_text("\n".join(json.dumps(row) for row in rows[part]) + "\n")
    done = convert(source, tmp_path / "out", unit="hour")
    assert done.parts == {"train": (2, 8, 3), "val": (1, 2, 2), "test": (1, 4, 3)}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "card.yaml",
        "test.parquet",
        "train.parquet",
        "val.parquet",
    ]
    assert read(tmp_path / "out", "train")[:6] == [
        *((0, i * 0.5, i % 3) for i in range(5)),
        (1, 0.0, 0),
    ]
    assert read(tmp_path / "out", "val") == [(0, 0.0, 0), (0, 0.5, 1)]
    card = read_event_card(tmp_path / "out" / "card.yaml")
    assert card == done.card and card.by_files and card.unit == "hour" and card.grid == 0
    frames, _ = read_event_frames(card, folder=tmp_path / "out")
    assert [name for name, _ in frames] == ["train.parquet", "val.parquet", "test.parquet"]


def test_numbers_of_numpy_and_gaps_alone_will_do(tmp_path: Path) -> None:
    events = [{"time_since_last_event": np.float32(0.25), "type_event": np.array([i])} for i in range(3)]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"train": [events]}))
    done = convert(tmp_path / "x.pkl", tmp_path / "out")
    assert read(tmp_path / "out", "train") == [(0, 0.25, 0), (0, 0.5, 1), (0, 0.75, 2)]
    assert not done.card.by_files and done.card.splits["train"] == 0.7
    row = {"time_since_start": np.array([1.0, 2.0]), "type_event": np.array([4, 5])}
    (tmp_path / "test.pkl").write_bytes(pickle.dumps([row]))
    assert convert(tmp_path / "test.pkl", tmp_path / "row").parts == {"test": (1, 2, 2)}


def test_names_of_marks_and_empty_sequences(tmp_path: Path) -> None:
    notes: list[str] = []
    rows = [{"time_since_start": [], "type_event": []}, {"time_since_start": [1, 2], "type_event": ["buy", "sell"]}]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    convert(tmp_path / "x.json", tmp_path / "out", notes=notes)
    assert read(tmp_path / "out", "all") == [(1, 1.0, "buy"), (1, 2.0, "sell")]
    assert notes == ["all: 1 sequence(s) without events were left out"]


def test_without_dev_the_last_of_train_validate(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"train": [sequence(3)] * 20, "test": [sequence(3)]}))
    done = convert(tmp_path / "x.pkl", tmp_path / "out", notes=notes)
    assert done.parts == {"train": (18, 54, 3), "val": (2, 6, 3), "test": (1, 3, 3)}
    assert notes == ["there is no dev part: the last 2 sequences of train are val"]
    assert {row[0] for row in read(tmp_path / "out", "val")} == {18, 19}


def test_a_grid_that_is_seen_in_enough_gaps_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = [
        [{"time_since_start": t / 3600, "type_event": 0} for t in np.cumsum(rng.integers(1, 9000, 60)).tolist()]
        for _ in range(30)
    ]
    (tmp_path / "x.json").write_text(json.dumps({"train": whole}))
    assert convert(tmp_path / "x.json", tmp_path / "out", unit="hour").card.grid == pytest.approx(1 / 3600)


def parts(**change: Any) -> str:
    return json.dumps({"train": [[{"time_since_start": 0.5, "type_event": 1, **change}]]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (parts(time_since_start="soon"), "train, sequence 0: time_since_start is str; expected a finite number"),
        (parts(time_since_start=None), "time_since_start is NoneType"),
        (parts(time_since_start=True), "time_since_start is bool"),
        ('{"train": [[{"time_since_start": 1e999, "type_event": 1}]]}', "time_since_start is inf"),
        ('{"train": [[{"time_since_start": NaN, "type_event": 1}]]}', "is no JSON: it holds NaN"),
        (parts(type_event=1.5), "type_event is float; expected a whole number or a name"),
        (parts(type_event=[1, 2]), "type_event is list"),
        (parts(type_event=2**70), "type_event is int"),
        (parts(type_event="x" * 201), "type_event has 201 letters; expected up to 200"),
        ('{"train": [[5]]}', "train, sequence 0 holds int; expected events as dicts"),
        ('{"train": [5]}', "train, sequence 0 is int; expected a list of events"),
        ('{"train": 5}', "train is no list"),
        ('{"train": []}', "has the keys 'train', and no events in them"),
        ('{"train": [[]]}', "train has no events"),
        ('{"rows": [1]}', "has the keys 'rows'"),
        ("5", "all is no list"),
        ('[{"time_since_start": [1], "type_event": [1, 2]}]', "has 1 times and 2 types"),
        ('[{"time_since_start": 1, "type_event": [1]}]', "time_since_start is int; expected a list"),
        ('[{"time": [1]}]', "time_since_last_event is NoneType"),
        ('{"dev": [[{"time_since_start": 1, "type_event": 1}]], ' + parts()[1:], "have only train and val"),
        (
            '{"test": [[{"time_since_start": 1, "type_event": 1}]], ' + parts()[1:],
            "1 sequences, and there is no dev",
        ),
        ("[" * 100_000, "is no JSON"),
        ("", "is no JSON"),
        ('{"train": [', "is no JSON"),
    ],
)
def test_what_is_not_events_is_said_and_leaves_nothing(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "x.json", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_one_list_named_many_times_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "EVENTS_MOST", 1000)
    many = sequence(100)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"train": [many] * 11}))
    with pytest.raises(DataError, match="train has 1,100 events; expected up to 1,000"):
        convert(tmp_path / "x.pkl", tmp_path / "out")
    monkeypatch.setattr(converting, "OBJECTS", 100)
    (tmp_path / "x.json").write_text("[" + "[]," * 100 + "[]]")
    with pytest.raises(DataError, match="holds too many lists and dicts"):
        convert(tmp_path / "x.json", tmp_path / "out")


def test_a_part_of_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"train": endless}))
    with pytest.raises(DataError, match="sequence 0 holds list; expected events as dicts"):
        convert(tmp_path / "x.pkl", tmp_path / "out")


def test_nothing_is_written_over_and_nothing_is_left_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.json").write_text(json.dumps(PARTS))
    (tmp_path / "out").mkdir()
    convert(tmp_path / "x.json", tmp_path / "out")  # an empty folder will do
    with pytest.raises(DataError, match="is there already"):
        convert(tmp_path / "x.json", tmp_path / "out")

    def full(self: pl.DataFrame, *_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="no space"):
        convert(tmp_path / "x.json", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.json"]


# JSON lines


def lines(tmp_path: Path, data: bytes) -> pl.DataFrame:
    (tmp_path / "x.jsonl").write_bytes(data)
    return read_file(tmp_path / "x.jsonl")


def test_json_lines_become_a_table(tmp_path: Path) -> None:
    found = lines(tmp_path, b'\xef\xbb\xbf{"id": 1, "t": "2024-01-01"}\r\n\r\n{"t": "2024-01-02", "new": 0.5}')
    assert found.rows() == [(1, "2024-01-01", None), (None, "2024-01-02", 0.5)]
    late = lines(tmp_path, b'{"id": 1}\n' * 300 + b'{"id": "x"}\n')
    assert late["id"].to_list() == ["1"] * 300 + ["x"]
    assert lines(tmp_path, b'{"text": "[[[[[[[[[[ \\" {{{{{{{"}\n')["text"][0] == '[[[[[[[[[[ " {{{{{{{'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"id": 1}\n{"id":', "line 2 is no JSON"),
        (b'{"id": 1}{"id": 2}\n', "line 1 is no JSON: Extra data"),
        (b'[{"id": 1}]\n', "begins with a list"),
        (b"1\n2\n", "line 1 holds no object"),
        (b'{"id": NaN}\n', "line 1 is no JSON: NaN, for which JSON has null"),
        (b'{"id": "\xe9"}\n', "line 1 is no JSON"),
        (b'{"id": true}\n{"id": 1}\n', "cannot be read"),
        (b"\n\n", "has no rows"),
        (b"<html></html>", "is a web page"),
        (b"PAR1", "is a parquet file by its first bytes"),
        (b'{"a": ' + b"[" * 100_000, "more than 4 lists or objects in each other"),
        (b'{"a": ' * 100_000, "more than 4 lists or objects in each other"),
        (b'"' * 300_000, "is no JSON"),
        (b'{"a": "' + b'\\"' * 300_000, "is no JSON"),
        (b"".join(b'{"k%d": 1}\n' % i for i in range(10_001)), "has more than 10,000 keys"),
    ],
)
def test_damaged_json_lines_are_told(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        lines(tmp_path, data)


def test_many_keys_in_many_lines_are_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "CELLS", 1000)
    with pytest.raises(DataError, match="has 100 keys in 101 lines; expected a table of up to"):
        lines(tmp_path, b"".join(b'{"k%d": 1}\n' % i for i in range(100)))


def test_the_same_bytes_as_a_stream_of_opcodes() -> None:
    """The opcodes are those that pickletools tells, but for the text of Python 2."""
    data = pickle.dumps(PARTS, protocol=4)
    told = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(data)]
    assert list(unpickle._opcodes(io.BytesIO(data))) == told
