"""Feeds cut lines, wait and stop as they say."""

import os
from threading import Event

import pytest

from forecast.errors import DataError, UsageError
from forecast.streaming.feeds.file import LONGEST, File
from forecast.streaming.feeds.stdin import Stdin
from forecast.streaming.sinks import FileSink


class Taker:
    """What a feed hands over."""

    def __init__(self, position=None):
        self.position, self.batches = position, []

    def process(self, lines, position):
        self.batches.append(list(lines))
        self.position = position


def test_a_file_is_cut_by_lines_and_gone_on_with(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n2\n\n4\n5")
    taker = Taker()
    File(path=str(path), batch=2).run(taker, Event())
    assert taker.batches == [[b"1\n", b"2\n"], [b"\n", b"4\n"], [b"5"]] and taker.position == 8
    again = Taker(4)
    File(path=str(path), batch=2).run(again, Event())
    assert again.batches == [[b"\n", b"4\n"], [b"5"]]
    with pytest.raises(DataError, match="is shorter than what was read of it"):
        File(path=str(path)).run(Taker(99), Event())
    with pytest.raises(DataError, match="is shorter than what was read of it"):
        File(path=str(path)).run(Taker({"0": 3}), Event())
    with pytest.raises(DataError, match="no line begins at byte 3"):
        File(path=str(path)).run(Taker(3), Event())


def test_a_line_without_end_takes_no_memory(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * (3 * LONGEST) + b"\n1\n")
    taker = Taker()
    File(path=str(path)).run(taker, Event())
    ((long, one),) = taker.batches
    assert len(long) == LONGEST + 1 and one == b"1\n"


@pytest.mark.parametrize("parts", [[b"1\n2\n", b"3\n4"], [b"1", b"\n2\n3", b"\n4\n"], [b"1\n2\n3\n4"], []])
def test_a_pipe_is_read_to_its_end(parts):
    out, into = os.pipe()
    for part in parts:
        os.write(into, part)
    os.close(into)
    taker = Taker()
    Stdin(batch=3, descriptor=out).run(taker, Event())
    os.close(out)
    assert [line for batch in taker.batches for line in batch] == [b"1", b"2", b"3", b"4"][: 4 * bool(parts)]
    assert all(len(batch) <= 3 for batch in taker.batches) and (taker.position or 0) == 4 * bool(parts)


def test_a_stop_takes_no_half_line():
    out, into = os.pipe()
    os.write(into, b"1\n2\n3")
    taker, stop = Taker(), Event()
    taker.process = lambda lines, position, done=taker.process: (done(lines, position), stop.set())
    Stdin(descriptor=out).run(taker, stop)
    os.close(out)
    os.close(into)
    assert taker.batches == [[b"1", b"2"]]


def test_settings_out_of_range_are_refused(tmp_path):
    (tmp_path / "f").write_text("")
    for made in (lambda: File(path=str(tmp_path / "f"), batch=0), lambda: Stdin(batch=0), lambda: Stdin(wait_ms=-1)):
        with pytest.raises(UsageError, match="expected"):
            made()
    with pytest.raises(UsageError, match="cannot be written"):
        FileSink(tmp_path / "none" / "out", sync=False)
