"""Days off: codes and tables, the fields of a day, and that a run forecasts with the days it was trained with."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecast import build
from forecast.data.batch import take
from forecast.data.card import Card, load_card, read_card, save_card
from forecast.data.holidays import CAP, FIELDS, Holidays, named, read_table
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.errors import DataError, UsageError
from forecast.types import CLOCK_SIZES

D = np.datetime64


def days(first: str, count: int) -> np.ndarray:
    return D(first) + np.arange(count)


@pytest.fixture
def hourly(tmp_path: Path) -> Path:
    """Three weeks around Christmas 2023 in UTC."""
    hours = D("2023-12-14", "us") + np.arange(21 * 24) * np.timedelta64(1, "h")
    pl.DataFrame({"ds": hours, "y": np.arange(len(hours)) % 24 + 0.5}).write_parquet(tmp_path / "y.parquet")
    return tmp_path / "y.parquet"


def module(path: Path, **changes: Any) -> SeriesModule:
    return SeriesModule(**{"path": str(path), "context": 24, "horizon": 6, **changes}).prepare()


@given(st.sets(st.integers(0, 60)), st.lists(st.integers(-10, 70), min_size=1, max_size=30))
def test_fields_are_the_distances_to_days_off(off: set[int], asked: list[int]) -> None:
    zero = date(2023, 12, 1)
    known = Holidays(("DE",), days={(zero + timedelta(day)).isoformat(): "" for day in off})
    got = known.fields(D(zero) + np.array(asked))
    for row, day in zip(got.tolist(), asked, strict=True):
        ahead = min([CAP, *(each - day for each in off if each >= day)])
        behind = min([CAP, *(day - each for each in off if each <= day)])
        assert row == [day in off, ahead, behind]
    assert (got < [CLOCK_SIZES[name] for name in FIELDS]).all()


def test_codes_are_spelt_as_the_law_package_spells_them() -> None:
    assert named("de-by", "x") == ("DE-BY",) and named(["US-CA", "fr", "FR"], "x") == ("US-CA", "FR")
    assert named("NO", "x") == ("NO",) and named(None, "x") == () and named([], "x") == ()
    assert named(["PT", "mine.csv"], "x") == ("PT", "mine.csv")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("DE-BX", r"data\.holidays names 'DE-BX', which is no part of DE; did you mean .*DE-BY"),
        ("MC-XX", "no part of MC; it has no parts; set MC"),
        ("Germny", "'Germny', which is no country .*did you mean DE\\?"),
        ("Germany", r"did you mean DE\?"),
        ("DX", r"did you mean \w\w or \w\w or \w\w\?"),
        ("", "names '', which is no country"),
        (False, "False; expected a country; NO means no in YAML; write 'NO' in quotes"),
        (["SE", False], "write 'NO' in quotes"),
        (7, "is 7; expected a country or a list"),
        ("no.csv", "no.csv does not exist"),
    ],
)
def test_unknown_ones_are_told_before_anything_is_read(tmp_path: Path, value: Any, message: str) -> None:
    wanted = DataError if value == "no.csv" else UsageError
    with pytest.raises(wanted, match=message) as fault:
        module(tmp_path / "absent.parquet", holidays=value)
    assert "\n" not in str(fault.value)


def test_a_country_and_its_parts() -> None:
    both = Holidays(("DE-BY", "FR")).covering(D("2024-01-01"), D("2024-12-31"))
    assert both.days["2024-01-06"] and both.days["2024-07-14"]  # Epiphany in Bavaria, the fourteenth of July
    assert both.days["2024-11-01"] == "All Saints' Day"  # both have it, by one name
    assert both.first == "2023-12-25" and both.last == "2025-01-07"  # a margin: distances are right at the edges
    assert both.fields(days("2024-12-30", 2)).tolist() == [[0, 2, 4], [0, 1, 5]]
    assert "2024-01-06" not in Holidays(("DE",)).covering(D("2024-01-01"), D("2024-12-31")).days


def test_what_is_known_is_never_looked_up_again() -> None:
    """Laws and packages change: a run keeps the days it was trained with, and looks up only those after."""
    known = Holidays(("DE",), "2023-01-01", "2024-01-07", {"2023-05-05": "decreed", "2024-01-01": ""}, "0.1")
    assert known.covering(D("2023-02-01"), D("2023-12-31")) is known
    wider = known.covering(D("2023-12-20"), D("2024-10-03"))
    assert [day for day in wider.days if "2023" <= day < "2024-03"] == ["2023-05-05", "2024-01-01"]  # no Christmas
    assert wider.days["2024-10-03"] and wider.first == "2022-12-25" and wider.last == "2024-10-10"
    assert wider.package != "0.1"
    assert Holidays.from_dict(json.loads(json.dumps(wider.to_dict()))) == wider


def test_years_that_no_law_covers_are_refused() -> None:
    with pytest.raises(DataError, match="DE: the data need the years 1929 to 1931; the package holidays knows 1991 to"):
        Holidays(("DE",)).covering(D("1930-01-01"), D("1930-12-31"))


def test_a_table_speaks_from_its_first_day_to_its_last(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("when;what\n2024-03-01;closed\n2024-02-01;stocktaking\n2024-02-01;stocktaking\n")
    assert read_table(path) == {"2024-02-01": "stocktaking", "2024-03-01": "closed"}
    known = Holidays((str(path),)).covering(D("2024-02-03"), D("2024-02-28"))
    assert known.fields(days("2024-02-25", 3)).tolist() == [[0, 5, 7], [0, 4, 7], [0, 3, 7]] and known.package == ""
    assert known.covering(D("2024-02-01"), D("2024-03-01")) is known
    with pytest.raises(DataError, match=r"mine\.csv ends with 2024-03-01, the data or the forecast with 2024-03-02"):
        known.covering(D("2024-02-20"), D("2024-03-02"))
    with pytest.raises(DataError, match="begins with 2024-02-01, the data with 2024-01-31"):
        Holidays((str(path),)).covering(D("2024-01-31"), D("2024-02-20"))
    with_law = Holidays((str(path), "DE-SN")).covering(D("2024-02-03"), D("2024-02-28"))
    assert with_law.last == "2024-03-01" and list(with_law.days) == ["2024-02-01", "2024-03-01"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2024-12-24\n2024-12-25\n", "begins with a date; expected the names of its columns"),
        ("name\nx\n", "no column of dates"),
        ("a,b\n2024-12-24,2024-12-25\n", "2 columns of dates"),
        ("day\n2024-12-24 13:00\n", "holds times of a day"),
        ("day\n2024-12-24\nsoon\n", r"row 2, column 'day': 'soon' is not a stamp"),
        ("day\n", "has no rows"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        module(tmp_path / "absent.parquet", holidays=str(tmp_path / "mine.csv"))


def test_a_day_off_is_a_local_day(hourly: Path) -> None:
    data = module(hourly, holidays="NZ", zone="Pacific/Auckland")
    free = data.series.time[data.series.clock[:, data.series.fields.index("holiday")] == 1]
    assert str(free[0])[:13] == "2023-12-24T11" and str(free[-1])[:13] == "2024-01-02T10"  # 13 hours before UTC
    assert data.spec.clock[-3:] == FIELDS and module(hourly).spec.clock == data.spec.clock[:-3]
    assert data.findings[-1].startswith("holidays: NZ: 4 days in the data (2023-12-25 Christmas Day, ")


def test_the_command_line_wins_over_the_card(hourly: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("day\n2023-12-01\n2024-02-01\n")
    card = replace(module(hourly).card, holidays=("PT", "mine.csv"))
    save_card(card, tmp_path / "card.yaml")
    assert read_card(tmp_path / "card.yaml").holidays == ("PT", str(tmp_path / "mine.csv"))
    own = {"card": str(tmp_path / "card.yaml"), "context": 24, "horizon": 6}
    assert SeriesModule(**own).prepare().series.holidays.sources == ("PT", str(tmp_path / "mine.csv"))
    assert SeriesModule(**own, holidays="FR").prepare().series.holidays.sources == ("FR",)
    assert SeriesModule(**own, holidays=[]).prepare().series.holidays is None
    with pytest.raises(DataError, match="the card: holidays is False.*write 'NO' in quotes"):
        Card.from_dict({**card.to_dict(), "holidays": False})


def test_steps_longer_than_a_day_are_refused(tmp_path: Path) -> None:
    first = D("2024-01-01", "us")
    for step, wanted in (("W", UsageError), ("2D", UsageError), ("D", None), ("12h", None)):
        size = {"W": 168, "2D": 48, "D": 24, "12h": 12}[step]
        frame = pl.DataFrame({"ds": first + np.arange(40) * np.timedelta64(size, "h"), "y": np.arange(40.0)})
        frame.write_parquet(tmp_path / "y.parquet")
        given = {"holidays": "DE", "context": 2, "horizon": 1}
        if wanted is None:
            assert module(tmp_path / "y.parquet", **given).spec.clock[-3:] == FIELDS
        else:
            with pytest.raises(wanted, match=r"data\.holidays with a step of .*; expected steps of a day or shorter"):
                module(tmp_path / "y.parquet", **given)


@pytest.mark.parametrize("source", ["DE", "mine.csv"])
def test_a_forecast_knows_the_same_days_as_the_training(
    hourly: Path, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From JSON alone, the table gone: a shorter file's future has the fields that the longer file had there."""
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "mine.csv"
    table.write_text("day\n2023-12-10\n2023-12-25\n2023-12-30\n2024-01-20\n")
    data = module(hourly, holidays=source, horizon=72)
    recipe = Recipe.from_state(json.loads(json.dumps(data.state())))
    table.unlink()
    cut = pl.read_parquet(hourly).head(11 * 24)  # to 24 December
    ahead = recipe.future(recipe.read(cut)).series
    np.testing.assert_array_equal(ahead.clock[-72:], data.series.clock[11 * 24 : 14 * 24])
    assert ahead.clock[-72:, ahead.fields.index("holiday")].sum() == {"DE": 48, "mine.csv": 24}[source]


def test_a_table_may_grow_after_the_training(hourly: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("day\n2023-12-10\n2023-12-25\n2024-01-03\n")
    recipe = Recipe.from_state(module(hourly, holidays=str(table), horizon=72).state())
    with pytest.raises(DataError, match=r"mine\.csv ends with 2024-01-03, the data or the forecast with 2024-01-06"):
        recipe.future(recipe.read(hourly))
    table.write_text("day\n2023-12-10\n2023-12-24\n2024-01-03\n2024-01-06\n2024-01-09\n")  # the past is settled
    ahead = recipe.future(recipe.read(hourly)).series
    table.unlink()
    with pytest.raises(
        DataError, match=r"mine\.csv does not exist; expected the table of days off, from .* to 2024-01-06"
    ):
        recipe.future(recipe.read(hourly))
    assert list(ahead.holidays.days) == ["2023-12-10", "2023-12-25", "2024-01-03", "2024-01-06", "2024-01-09"]
    assert ahead.clock[-72:, -3].tolist() == [0.0] * 48 + [1.0] * 24


def test_another_version_of_the_law_package_is_told(hourly: Path) -> None:
    data = module(hourly, holidays="DE")
    recipe = Recipe.from_state(data.state())
    assert recipe.holidays is not None and recipe.holidays.package
    assert recipe.future(recipe.read(hourly)).notes == []
    old = recipe._replace(holidays=recipe.holidays._replace(package="0.1"))
    later = pl.read_parquet(hourly).with_columns(pl.col("ds") + pl.duration(days=300))
    (note,) = old.future(old.read(later)).notes
    assert note.startswith("holidays after 2024-01-10 are of the package's version 0.") and note.endswith("was 0.1")
    assert module(hourly, holidays="DE").remember(old.holidays).looked_up == old.holidays
    again = SeriesModule(path=str(hourly), context=24, horizon=6, holidays="DE").remember(old.holidays).prepare()
    assert again.series.holidays == old.holidays


@pytest.mark.parametrize("calendar", ["timeF", "fixed", "learned"])
def test_every_embedding_takes_the_fields(hourly: Path, calendar: str) -> None:
    data = module(hourly, holidays="DE")
    chain = build.chain(tiny(calendar), data.spec, masked=False).eval()
    batch = take(data.gather, data.windows("train"), np.arange(3))
    moved = batch.future_clock.clone()
    moved[..., data.spec.clock.index("holiday")] = 1 - moved[..., data.spec.clock.index("holiday")]
    assert (chain(batch) != chain(batch._replace(future_clock=moved))).any()


def tiny(calendar: str) -> dict[str, Any]:
    """An Informer whose decoder sees the calendar ahead and nothing else."""
    small = {"d_model": 16, "heads": 2, "d_ff": 32, "dropout": 0.0}
    return {
        "norm": "none", "seed": 1,
        "model": {"_target_": "forecast.models.Informer", "layers": [1], **small},
        "embed": {"_target_": "forecast.models.ValueEmbedding", "d_model": 16, "calendar": calendar, "dropout": 0.0},
        "head": {"_target_": "forecast.heads.Generative", "label": 8, "residual": "none", "placeholder": "zeros",
                 "calendar": calendar, **small},
    }  # fmt: skip


def test_days_off_that_look_like_sundays_are_forecast_better_when_they_are_known(tmp_path: Path) -> None:
    rng, span = np.random.default_rng(0), days("2023-01-01", 500)
    off = np.unique([*rng.choice(span, 40), span[0], span[-1]])
    hours = span[0].astype("datetime64[us]") + np.arange(500 * 8) * np.timedelta64(3, "h")
    free, sunday = np.isin(hours.astype("datetime64[D]"), off), (hours.astype("datetime64[D]").astype(int) + 3) % 7 == 6
    daily = 10 + 4 * np.sin(2 * np.pi * np.arange(len(hours)) / 8)
    pl.DataFrame({"ds": hours, "y": daily - 6 * (free | sunday) + rng.normal(0, 0.3, len(hours))}).write_parquet(
        tmp_path / "y.parquet"
    )
    (tmp_path / "off.csv").write_text("day\n" + "".join(f"{day}\n" for day in off))

    def error(holidays: str | None) -> float:
        """Mean squared error, scaled, of the steps of the test part that lie on a day off."""
        data = module(tmp_path / "y.parquet", context=16, horizon=8, holidays=holidays)
        torch.manual_seed(0)
        chain, draw = build.chain(tiny("learned"), data.spec, masked=False), np.random.default_rng(0)
        adam, windows = torch.optim.Adam(chain.parameters(), lr=3e-3), data.windows("train")
        for _ in range(100):
            batch = take(data.gather, windows, draw.integers(0, len(windows), 64))
            adam.zero_grad()
            (chain(batch) - batch.future).square().mean().backward()
            adam.step()
        batch = take(data.gather, data.windows("test"), np.arange(len(data.windows("test"))))
        on = torch.from_numpy(free[(batch.origin[:, None] + torch.arange(8)).numpy()])
        with torch.inference_mode():
            return float((chain.eval()(batch) - batch.future).square()[..., 0][on].mean())

    without, known = error(None), error(str(tmp_path / "off.csv"))
    assert known < without / 3, (known, without)


def test_no_card_that_comes_along_has_days_off() -> None:
    """Else the scores in the README would be of other models than the commands beside them."""
    assert load_card("electricity").holidays == ()
