"""A batch is in the store whole or not at all; nobody else's file is taken for one."""

import sqlite3

import pytest

from forecast.errors import ArtifactError, UsageError
from forecast.streaming.store import Store


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "s.db", "weights")
    yield made
    made.close()


def keep(store, names, at=0, fill=b"r"):
    store.keep(names, [at] * len(names), [memoryview(fill * 8)] * len(names))


def test_a_transaction_is_all_or_nothing(store):
    with store.transaction():
        keep(store, ["a"])
        store.note({"position": 1})
    with pytest.raises(ZeroDivisionError), store.transaction():
        keep(store, ["a", "b"], fill=b"x")
        store.note({"position": 2})
        store.give([(1, b"line")])
        raise ZeroDivisionError
    assert store.fetch(["a", "b"]) == {"a": b"r" * 8} and store.facts()["position"] == 1 and not store.given(0)


def test_many_names_are_found_and_old_ones_dropped(store):
    names = [f"s{i}" for i in range(1201)]
    with store.transaction():
        keep(store, names[:700], at=5)
        keep(store, names[700:], at=9)
    assert store.fetch([*names, "none"]).keys() == set(names) and store.count() == 1201
    with store.transaction():
        assert store.purge(9) == 700
    assert store.count() == 501


def test_lines_wait_until_they_were_heard(store):
    store.give([(i, b"%d" % i) for i in range(1, 6)])
    assert [seq for seq, _ in store.given(2, most=2)] == [3, 4]
    store.heard(4)
    assert store.given(0) == [(5, b"5")]


def test_a_copy_is_whole_while_the_stream_writes(store, tmp_path):
    with store.transaction():
        keep(store, ["a"])
    store.backup(tmp_path / "copy.db")
    with store.transaction():
        keep(store, ["a"], fill=b"x")
    copy = Store(tmp_path / "copy.db", "weights")
    assert copy.fetch(["a"]) == {"a": b"r" * 8}
    copy.close()


def test_it_is_held_by_one_and_belongs_to_its_weights(store, tmp_path):
    with pytest.raises(UsageError, match="in use by another stream"):
        Store(tmp_path / "s.db", "weights")
    store.close()
    with pytest.raises(ArtifactError, match="under other weights or settings"):
        Store(tmp_path / "s.db", "others")
    again = Store(tmp_path / "s.db", "weights")  # a refusal holds nothing
    again.close()


@pytest.mark.parametrize("what", [b"no database at all" * 100, b""])
def test_a_file_that_is_no_store(tmp_path, what):
    path = tmp_path / "junk.db"
    path.write_bytes(what)
    if what:
        with pytest.raises(ArtifactError, match="is no state of a stream"):
            Store(path, "weights")
        assert path.read_bytes() == what
        with sqlite3.connect(tmp_path / "else.db") as other:
            other.execute("CREATE TABLE facts (x)")
        with pytest.raises(ArtifactError, match="is no state of a stream"):
            Store(tmp_path / "else.db", "weights")
    else:
        Store(path, "weights").close()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "file" / "s.db", "weights")
