"""Events: files of them, their cards, and what others keep as pickles and JSON."""

import pickle
from collections.abc import Callable
from pathlib import Path

import polars as pl

from .case import ANY, Case, nothing
from .make import csv, put

ROWS = [f"{'ab'[i % 2]},2024-01-{1 + i // 2:02d} 0{i % 2}:00,{'xyz'[i % 3]}" for i in range(40)]
SHOW = "data show f.csv kind=events"
CARD = "data show c.yaml"
CONVERT = "data convert f.pkl to=d"
JSON = "data convert f.json to=d"
LINES = "data check f.jsonl"
SMOKE = "train experiment=smoke_events"
DESCRIBED = (
    "name: mine\nkind: events\nfiles: [{path: f.csv}]\nid: id\ntime: time\nmark: mark\nunit: day\n"
    "splits: {val: 2024-01-10, test: 2024-01-15}\n"
)


class Command:
    """An object that would run a command where a pickle is loaded as Python loads it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return print, ("this must not be printed",)


def events(lines: list[str] | None = None, head: str = "id,time,mark") -> Callable[[Path], None]:
    return csv(ROWS if lines is None else lines, head)


def card(old: str = "", new: str = "") -> Callable[[Path], None]:
    """A card of events with a change, and its file."""
    assert old in DESCRIBED

    def make(folder: Path) -> None:
        events()(folder)
        put(DESCRIBED.replace(old, new) if old else DESCRIBED, "c.yaml")(folder)

    return make


def pickled(value: object, protocol: int = 2) -> Callable[[Path], None]:
    return put(pickle.dumps(value, protocol=protocol), "f.pkl")


def lists(folder: Path) -> None:
    pl.DataFrame({"time": [[1.0, 2.0]], "mark": [["a", "b"]]}).write_parquet(folder / "f.parquet")


def two_files(folder: Path) -> None:
    (folder / "d").mkdir()
    for name in ("dev.json", "val.json"):
        (folder / "d" / name).write_text('[{"time_since_start": [0.0, 1.0], "type_event": [0, 1]}]')


def large(folder: Path) -> None:
    for name in ("f.pkl", "f.json"):
        with (folder / name).open("wb") as file:
            file.truncate((256 << 20) + 1)


def one(time: str = "0.5", mark: str = "1") -> Callable[[Path], None]:
    """A JSON file of one sequence."""
    return put(f'{{"train": [[{{"time_since_start": {time}, "type_event": {mark}}}]]}}', "f.json")


SURE = " → check that it is the file you mean"
# fmt: off
CASES = [
    # A file without a card
    Case("an option of events for a series", "verbs/data.py _options: is an option of …", events(), "'mark' is an option of events → write kind=events too, or leave it out", "data show f.csv mark=mark", 2),
    Case("a task where a kind is asked for", "verbs/data.py _options: has no task", events(), "`forecast data` has no task → write kind=series, kind=events or kind=labelled", "data show f.csv task=event", 2),
    Case("a kind that is none", "verbs/data_kind.py kind_of: kind is", events(), "kind is 'evnts'; did you mean events? → write kind=events or kind=labelled", "data show f.csv kind=evnts", 2),
    Case("a kind that the card is not of", "verbs/data_kind.py kind_of: is a data set of", nothing, "'retail' is a data set of events → leave out kind=series", "data show retail kind=series", 2),
    Case("a set of events with an option", "verbs/data_kind.py described: has a card", nothing, "'retail' has a card, which takes no 'id' → leave it out, or give the file of the data", "data show retail id=id", 2),
    Case("a file of events that is not there", "verbs/data_kind.py described: neither", nothing, "'retial' is neither a data set nor a file; did you mean retail? → see `forecast data list`", "data show retial kind=events", 2),
    Case("an option that events have not", "verbs/data_kind.py options_of: is not an option", events(), "'uint' is not an option of `forecast data` for events; did you mean unit?", f"{SHOW} uint=day", 2),
    Case("an option of events without a value", "verbs/data_kind.py options_of: has no value", events(), "unit has no value; expected unit=VALUE → see `forecast data --help`", f"{SHOW} unit=", 2),
    Case("a grid that is no number", "verbs/data_events.py _options: expected a number", events(), "grid is 'fine'; expected a number → write grid=0.001", f"{SHOW} grid=fine", 2),
    Case("val without test", "verbs/data_events.py _options: is set alone", events(), "val is set alone; expected val and test → write val=DATE test=DATE", f"{SHOW} val=2024-01-10", 2),
    Case("a card of events under a name that is not YAML", "verbs/data_kind.py _save", events(), "save is 'c.txt'; expected a name ending in .yaml → write save=card.yaml", f"{SHOW} save=c.txt", 2),
    Case("a column of marks that is not there", "data/event_card.py infer_event_card: names", events(), "data.mark names 'makr', which is no column of f.csv; did you mean mark?", f"{SHOW} mark=makr", 2),
    Case("events as lists in a row", "data/event_card.py infer_event_card: holds lists", lists, "f.parquet: column 'time' holds lists; expected one event a row → convert it with `forecast data convert f.parquet to=DIR`", "data show f.parquet kind=events"),
    Case("two columns that may name the sequences", "data/event_card.py _usual", events(head="id,time,user"), "f.csv: the columns id, user may all be the id; found columns id, time, user → set id=COLUMN", SHOW),
    Case("events without a time", "data/event_card.py _time", csv([f"a,{i}" for i in range(9)], "id,count"), "f.csv: no column seems to be the time; found columns id, count → set time=COLUMN", SHOW),
    Case("two columns of text that may be marks", "data/event_card.py _text_column", csv([f"2024-01-0{i},a,b" for i in range(1, 9)], "time,what,who"), "f.csv: the columns what, who hold text; expected one that tells events apart, and maybe one that tells sequences apart → set mark=COLUMN, and id=COLUMN", SHOW),
    # Cards
    Case("a set of events as a series", "data/card.py other_kind", card(), "'mine' is a data set of events; expected series → set task=event", "train data=series data.card=c.yaml", 2),
    Case("a set of events that is only described", "data/event_card.py only_described", nothing, "the card 'mimic' only describes its data set; get the file from https://physionet.org/content/mimiciii/ → convert it with `forecast data convert FILE to=DIR`, then give data.card=DIR/card.yaml", "data check mimic"),
    Case("a file of events of other length than its card says", "verbs/data_check.py differs", card("path: f.csv", "path: f.csv, rows: 41"), "'mine' differs from its card in rows; expected the file the card describes → get the file again, or correct the card", "data check c.yaml"),
    Case("a number for a column of events", "data/event_card_checks.py text", card("mark: mark", "mark: 5"), "{here}/c.yaml: mark is '5'; expected text → write it in quotation marks, or null", CARD),
    Case("a negative grid", "data/event_card_checks.py amount", card("unit: day", "unit: day\ngrid: -1"), "{here}/c.yaml: grid is -1; expected a time in the unit of the card → 0 means none", CARD),
    Case("a word for a list in a card of events", "data/event_card_checks.py listed", card("unit: day", "unit: day\nperiods: week"), "{here}/c.yaml: periods is 'week'; expected a list → write periods: [week]", CARD),
    Case("a period that is unknown", "data/event_card_checks.py period: is unknown", card("unit: day", "unit: day\nperiods: [weak]"), "{here}/c.yaml: the period 'weak' is unknown; did you mean week? → or write a number", CARD),
    Case("a period of nothing", "data/event_card_checks.py period: a period is", card("unit: day", "unit: day\nperiods: [0]"), "{here}/c.yaml: a period is 0; expected a number above 0 → correct the card", CARD),
    Case("a period that its unit cannot count", "data/event_card_checks.py check: cannot be counted", card("unit: day", "unit: tick\nperiods: [week]"), "{here}/c.yaml: the period 'week' cannot be counted in the unit 'tick'; expected a unit among microsecond, second, minute, hour, day → write the period as a number", CARD),
    Case("a card of events without a unit", "data/event_card_checks.py check: is empty", card("unit: day", "unit: ''"), "{here}/c.yaml: unit is empty; expected a name → correct the card", CARD),
    Case("a column of events in two roles", "data/event_card_checks.py check: names the column", card("mark: mark", "mark: time"), "{here}/c.yaml names the column 'time' twice; expected each in one role → correct the card", CARD),
    Case("a mistyped word for what comes twice", "data/event_card_checks.py check: twice is", card("unit: day", "unit: day\ntwice: dorp"), "{here}/c.yaml: twice is 'dorp'; expected keep or drop → did you mean drop?", CARD),
    Case("labels without marks", "data/event_card_checks.py check: has labels", card("mark: mark", "labels: '|'"), "{here}/c.yaml has labels; expected a column of marks that they part → name it in mark", CARD),
    Case("a part that is no file of the card", "data/event_card_checks.py check: splits names the file", card("splits: {val: 2024-01-10, test: 2024-01-15}", "splits: {train: f.csv, val: g.csv, test: h.csv}"), "{here}/c.yaml: splits names the file 'g.csv'; did you mean f.csv? → list it under files", CARD),
    Case("two parts of one file", "data/event_card_checks.py check: splits names a file twice", card("splits: {val: 2024-01-10, test: 2024-01-15}", "splits: {train: f.csv, val: f.csv, test: f.csv}"), "{here}/c.yaml: splits names a file twice; expected one for each part → correct the card", CARD),
    # JSON lines
    Case("JSON lines cut short", "data/formats.py _no_object: …: line", put('{"ds": "2024-01-01", "y": 1}\n{"ds": "2024-', "f.jsonl"), f"f.jsonl: line 2 is no JSON: {ANY}; expected one object a line → correct the line", LINES),
    Case("JSON that is one list", "data/formats.py _no_object: begins with", put('[{"ds": "2024-01-01", "y": 1}]\n', "f.jsonl"), "f.jsonl begins with a list; expected one object a line → write each row as {…} on its line", LINES),
    Case("JSON lists in each other", "data/formats.py _bounded: in each other", put('{"y": ' + "[" * 900 + "]" * 900 + "}\n", "f.jsonl"), "f.jsonl holds more than 4 lists or objects in each other; expected numbers and text → write each row as one object", LINES),
    Case("a key of its own on every JSON line", "data/formats.py _bounded: keys in", put("".join(f'{{"k{i}": 1}}\n' for i in range(12_000)), "f.jsonl"), "f.jsonl has more than 10,000 keys in 12,001 lines; expected a table of up to 10,000 columns and 500 million cells → write one object a line, all with the same keys", LINES),
    # What others keep
    Case("a pickle that runs a command", "data/unpickle.py _bad", pickled({"train": [Command()]}), "f.pkl is a pickle that names __builtin__.print; expected lists of events → nothing of it was run; get the data elsewhere", CONVERT),
    Case("a pickle cut short", "data/unpickle.py _bad", put(pickle.dumps({"train": [[1.5]]})[:-3], "f.pkl"), "f.pkl is no whole pickle: it is cut short, or no pickle at all; expected lists of events → get the file again", CONVERT),
    Case("a pickle of too many bytes", "data/unpickle.py _bad", large, "f.pkl has 268,435,457 bytes; expected up to 268,435,456 → convert its parts one by one", CONVERT),
    Case("JSON of too many bytes", "data/convert.py _json: bytes", large, "f.json has 268,435,457 bytes; expected up to 268,435,456 → convert its parts one by one", JSON),
    Case("a time that is text", "data/convert.py _odd", one('"soon"'), f"train, sequence 0: time_since_start is str; expected a finite number{SURE}", JSON),
    Case("a type that is none", "data/convert.py _odd", one(mark="null"), f"train, sequence 0: type_event is NoneType; expected a whole number or a name{SURE}", JSON),
    Case("JSON of other things", "data/convert.py _odd", put('{"rows": 5}', "f.json"), f"f.json has the keys 'rows', and no events in them; expected train, dev and test{SURE}", JSON),
    Case("JSON that is damaged", "data/convert.py _odd", put('[{"time_since_start": [', "f.json"), f"f.json is no JSON: {ANY}; expected lists of events{SURE}", JSON),
    Case("two files of one part", "data/convert.py _parts: twice", two_files, "{here}/d holds val twice; expected one file a part → give the right file alone", "data convert d to=e"),
    Case("a folder without parts", "data/convert.py _parts: no part", lambda folder: (folder / "d").mkdir(), "{here}/d holds no part; expected train, dev and test (.pkl, .pickle, .p, .json, .jsonl, .ndjson) → give a file", "data convert d to=e"),
    Case("nothing to convert", "data/convert.py _of_file: does not exist", nothing, "{here}/f.pkl does not exist; expected a file, or a folder of train, dev and test → correct it", CONVERT),
    Case("a format that is not converted", "data/convert.py _of_file: has the ending", events(), "f.csv has the ending '.csv'; expected .pkl, .pickle, .p, .json, .jsonl, .ndjson → give another file", "data convert f.csv to=d"),
    Case("converted data over others", "data/convert.py convert: is there already", two_files, "{here}/d is there already; expected a new folder, or an empty one → give another: to=DIR", "data convert d to=d"),
    Case("converted data where nothing can be written", "data/convert.py convert: cannot be written", lambda folder: (one()(folder), put("", "d")(folder))[0], f"{{here}}/d/e cannot be written: {ANY}; expected a folder of yours → give another: to=DIR", "data convert f.json to=d/e"),
    Case("an option that forecast data convert has not", "verbs/data_convert.py convert: is not an option", one(), "'too' is not an option of `forecast data convert`; did you mean to?", "data convert f.json too=d", 2),
    Case("a folder without a name to convert to", "verbs/data_convert.py convert: has no value", one(), "to has no value; expected to=VALUE → see `forecast data --help`", "data convert f.json to=", 2),
    Case("no folder to convert to", "verbs/data_convert.py convert: there is no folder", one(), "there is no folder to write to; expected to=DIR → forecast data convert f.json to=DIR", "data convert f.json", 2),
    # Training
    Case("a normalisation of events", "build.py event_chain: norm is", nothing, "norm is instance; their embedding scales gaps → leave it out", f"{SMOKE} norm=instance", 2),
    Case("an embedding of another width than the model of events", "build.py _same_width", nothing, "the embedding gives tokens of width 8, the encoder takes 32 → set embed.d_model to the width of the model", f"{SMOKE} embed.d_model=8", 2),
    Case("a head of series for events", "build.py _of_kind", nothing, "Direct is for series; the task is about events → set head=next_event", f"{SMOKE} head=direct", 2),
    Case("an embedding of events for series", "build.py _of_kind", nothing, "EventEmbedding is for events; the task is about series → set embed=value", "train experiment=smoke embed=event", 2),
    Case("a model of events that distils", "build.py require: gives fewer tokens", nothing, "Informer gives fewer tokens than it takes; task=event forecasts after every step → set model.distil=false and one replica, e.g. model.layers=[2]", f"{SMOKE} model=informer model.causal=false model.aligned=false", 2),
    Case("a model of events that looks ahead", "build.py require: needs a model that does not", nothing, "Informer looks ahead; task=event needs a model that does not: its forecasts would be of what it saw → set model.causal=true where it has that, or model=aaren", f"{SMOKE} model=informer model.causal=false", 2),
    Case("series for the task of events", "config.py fitting", nothing, "task=event with etth1, which are series; expected events → set task=forecast, or data, e.g. data=retail", "train task=event data=etth1", 2),
    Case("events for the task of forecasting", "config.py fitting", nothing, "task=forecast with taxi, which are events; expected series → set task=event, or data, e.g. data=electricity", "train data=taxi", 2),
    Case("a key of a process that is none", "data/event_module.py _simulated", nothing, "data.hawkes has the key 'foo'; choose one of: base, decay, end, excite, seed, sequences → name each once", f"{SMOKE} +data.hawkes.foo=1", 2),
    Case("a baseline beside events", "verbs/train_event.py data: baseline", nothing, "baseline= with task=event; its floors are always beside it → leave baseline out", f"{SMOKE} baseline=theta", 2),
    Case("a task that is none", "verbs/train.py work_of", nothing, "task.name is 'classfy'; expected forecast, event or classify → choose with task=", "train task.name=classfy", 2),
]
