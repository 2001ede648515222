"""Messages of brokers into batches of lines."""

from forecast.streaming.feeds.messages import Pack, lines_of, packed
from forecast.streaming.parsing import LONGEST


def test_a_message_is_an_object_or_lines():
    assert lines_of(b"") == lines_of(b" \n ") == []
    assert lines_of(b'{"a": 1}\n') == [b'{"a": 1}']
    assert lines_of(b'{"a": 1}\n\n{"a": 2}\r\n') == [b'{"a": 1}', b'{"a": 2}']
    assert lines_of(bytearray(b'{\n "a": 1\n}')) == [b'{\n "a": 1\n}']
    assert [len(line) for line in lines_of(b"x" * (LONGEST + 99) + b"\ny")] == [LONGEST + 1, 1]
    assert len(lines_of(b"x" * (LONGEST + 99))[0]) == LONGEST + 1


def test_batches_hold_no_more_lines_than_they_may():
    given = [("a", [b"1"]), ("b", []), ("c", [b"2", b"3", b"4", b"5", b"6"]), ("d", [b"7"])]
    assert list(packed(given, 2)) == [
        Pack([b"1", b"2"], ["a", "b"], "c", 1),
        Pack([b"3", b"4"], [], "c", 3),
        Pack([b"5", b"6"], ["c"], None, 0),
        Pack([b"7"], ["d"], None, 0),
    ]
    assert list(packed(given, 100)) == [Pack([b"1", b"2", b"3", b"4", b"5", b"6", b"7"], list("abcd"), None, 0)]
    assert list(packed([("a", [])], 1)) == [Pack([], ["a"], None, 0)]
    assert list(packed([], 1)) == []
