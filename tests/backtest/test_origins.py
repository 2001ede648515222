"""Which origins there are: by a count, by stamps, for series of any phase, and what cannot be."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.backtest.origins import Rolling, cutoffs, parse, rolled
from forecast.data.card import Card
from forecast.data.infer import infer_frame_card
from forecast.data.read import from_frame
from forecast.data.table import Series
from forecast.errors import DataError, UsageError

CONTEXT, HORIZON = 5, 3


def series(lengths, *, freq="h", begins=None, zone=None) -> Series:
    """A series for each length, from its own start on."""
    size, unit = {"h": (1, "h"), "15min": (15, "m"), "D": (1, "d"), "B": (1, "d")}.get(freq, (1, "mo"))
    frames = []
    for n, length in enumerate(lengths):
        first = np.datetime64("2024-01-01" if begins is None else begins[n], "us").item()
        time = pl.Series([first] * 2 * length, dtype=pl.Datetime("us"))
        time = pl.select(time.dt.offset_by(pl.Series([f"{k * size}{unit}" for k in range(2 * length)]))).to_series()
        time = time.dt.month_end() if freq == "ME" else time.filter(time.dt.weekday() <= 5) if freq == "B" else time
        frames.append(pl.DataFrame({"id": f"s{n}", "ds": time.head(length), "y": np.arange(length, dtype=float)}))
    frame = pl.concat(frames)
    card: Card = infer_frame_card(frame, "f", name="f", time="ds", id="id", target=["y"], freq=freq, zone=zone)
    return from_frame(card, frame, "f", [], None)


def whole(table):
    return np.stack([table.start[:-1], table.start[1:]], 1)


def found(asked, table, part=None):
    windows = rolled(asked, table, whole(table) if part is None else part, CONTEXT, HORIZON)
    origin, number = windows.at(np.arange(len(windows)))
    return [(int(s), str(table.time[row - 1])[:16]) for row, s in zip(origin, number, strict=True)]


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(3, 40), min_size=1, max_size=4),
    shifts=st.lists(st.integers(0, 90), min_size=4, max_size=4),
    first=st.integers(-20, 60), span=st.integers(0, 60), step=st.integers(1, 7),
)  # fmt: skip
def test_stamps_choose_the_last_row_that_is_not_after_them(lengths, shifts, first, span, step):
    """Minutes of phase apart: a cutoff is never after its stamp, and lies on the grid of the first."""
    start = np.datetime64("2024-01-01T00:00", "m")
    begins = [str(start + np.timedelta64(17 * s, "m")) for s in shifts[: len(lengths)]]
    table = series([max(3, n) for n in lengths], begins=begins)
    at = [start + np.timedelta64(60 * first + 60 * step * k, "m") for k in range(span // step + 1)]
    wanted = []
    for s in range(len(lengths)):
        mine = table.time[table.start[s] : table.start[s + 1]]
        for stamp in at:
            row = int((mine <= stamp).sum())  # rows before the first target
            if CONTEXT <= row <= len(mine) - HORIZON:
                wanted.append((s, str(mine[row - 1])[:16]))
    asked = Rolling(step, first=str(at[0]), last=str(at[-1]))
    if not wanted:
        with pytest.raises(DataError, match="no origin|no series is long enough"):
            found(asked, table)
        return
    assert found(asked, table) == wanted


@pytest.mark.parametrize(
    ("freq", "begin", "stamp", "cutoff"),
    [
        ("MS", "2020-01-01", "2022-03-31", "2022-03-01"),
        ("MS", "2020-01-01", "2022-03-01", "2022-03-01"),
        ("ME", "2020-01-01", "2022-03-30", "2022-02-28"),
        ("ME", "2020-01-01", "2022-03-31", "2022-03-31"),
        ("B", "2024-01-01", "2024-02-03", "2024-02-02"),  # a Saturday
        ("B", "2024-01-01", "2024-02-05", "2024-02-05"),
        ("D", "2024-01-01", "2024-02-05T13:00", "2024-02-05"),
        ("15min", "2024-01-01", "2024-01-01T03:14", "2024-01-01T03:00"),
    ],
)
def test_a_stamp_within_a_step_means_the_step_before_it(freq, begin, stamp, cutoff):
    table = series([60], freq=freq, begins=[begin])
    assert found(Rolling(1, first=stamp, last=stamp), table)[0][1].startswith(cutoff)


def test_stamps_are_of_the_zone_unless_they_say_utc():
    table = series([200], zone="Europe/Berlin")
    ((_, wall),) = found(Rolling(1, first="2024-01-03T01:00", last="2024-01-03T01:00"), table)
    ((_, utc),) = found(Rolling(1, first="2024-01-03T00:00Z", last="2024-01-03T00:00Z"), table)
    assert wall == utc == "2024-01-03T00:00"


def test_a_count_is_of_the_last_origins_of_each_series():
    table = series([30, 12, 4])
    assert [s for s, _ in found(Rolling(2, most=3), table)] == [0, 0, 0, 1, 1, 1]  # the third is too short for any
    last = [stamp for s, stamp in found(Rolling(2, most=3), table) if s == 0]
    assert last == ["2024-01-01T22:00", "2024-01-02T00:00", "2024-01-02T02:00"]
    with pytest.raises(DataError, match="origins=99 with step=1: series 's0' has 23; an origin has 5 steps"):
        found(Rolling(1, most=99), table)


def test_without_words_the_origins_are_those_of_the_part():
    table = series([30, 20])
    part = np.array([[20, 30], [45, 50]])
    assert [stamp[11:] for s, stamp in found(Rolling(), table, part) if s == 0][:1] == ["19:00"]
    assert len(found(Rolling(), table, part)) == 8 + 3
    assert len(found(Rolling(4), table, part)) == 2 + 1


def test_the_times_of_origins_are_told_once():
    table = series([12, 12])
    windows = rolled(Rolling(), table, whole(table), CONTEXT, HORIZON)
    times, place = cutoffs(table, windows)
    assert len(times) == 5 and place.tolist() == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize(
    ("origins", "step", "said"),
    [
        (None, 0, "step is 0"),
        (0, 1, "origins is 0; expected at least 1"),
        (True, 1, "origins is True; expected a count or stamps"),
        ("all", 1, "origins is 'all'"),
        ({"frist": "2024-01-01"}, 1, "origins has no frist; expected first and last; did you mean first"),
        ({"first": "soon"}, 1, "origins.first is 'soon'; expected a stamp"),
    ],
)
def test_what_no_origins_are_is_refused(origins, step, said):
    with pytest.raises(UsageError, match=said):
        parse(origins, step)
