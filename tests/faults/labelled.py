"""Labelled series: tables and files .ts of them, and their cards."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from .case import ANY, Case, nothing
from .make import both, csv, put

ROWS = [f"{'abcdef'[i // 3]},{i % 3},{i / 7:.3f},{'uv'[i // 3 % 2]}" for i in range(18)]
SHOW = "data show f.csv kind=labelled"
CHECK = "data check c.yaml"
TS = "data show f.ts"
HEAD = ("@problemName toy", "@timeStamps false", "@univariate false", "@classLabel true u v", "@data")
DESCRIBED = "name: mine\nkind: labelled\nfiles: [{path: f.csv}]\nid: id\ntime: t\nlabel: kind\n"


def labelled(old: str = "", new: str = "", head: str = "id,t,x,kind") -> Callable[[Path], None]:
    """Six series of three steps, of two classes; one line replaced."""
    assert not old or old in ROWS
    return csv([new if line == old else line for line in ROWS], head)


def card(more: str = "", old: str = "", new: str = "") -> Callable[[Path], None]:
    """A card of labelled series with a change, and its file."""
    assert old in DESCRIBED
    return both(labelled(), put((DESCRIBED.replace(old, new) if old else DESCRIBED) + more, "c.yaml"))


def ts(body: str, drop: str = "", **tags: str) -> Callable[[Path], None]:
    """A file .ts with these series, one line of its header dropped or replaced."""
    head = [tags.get(line.split()[0].removeprefix("@"), line) for line in HEAD if not drop or drop not in line]
    return put("\n".join([*head, body]), "f.ts")


def lists(folder: Path) -> None:
    pl.DataFrame({"id": ["a", "b"], "x": [[1.0], [2.0]], "kind": ["u", "v"]}).write_parquet(folder / "f.parquet")


# fmt: off
CASES = [
    # A table
    Case("a table without ids of series", "data/label_card.py _asked", labelled(head="of,t,x,kind"), "f.csv: no column seems to be the id; expected one that tells series apart; found of, t, x, kind → set id=COLUMN", SHOW),
    Case("two columns that may be labels", "data/label_card.py _asked", csv([f"{row},{row[-1]}" for row in ROWS], "id,t,x,label,class"), "f.csv: the columns label, class may all be the label; expected one that is the class of a series; found id, t, x, label, class → set label=COLUMN", SHOW),
    Case("a column of labels that is not there", "data/label_card.py infer_label_card: names", labelled(), "data.label names 'kidn', which is no column of f.csv; did you mean kind or id?", f"{SHOW} label=kidn", 2),
    Case("a channel of text", "data/label_card.py infer_label_card: holds no numbers", csv([f"{row},red" for row in ROWS], "id,t,x,kind,colour"), "f.csv: column 'colour' holds no numbers; expected numbers in all columns but id, t, kind → name the channels: channels=A,B", f"{SHOW} label=kind"),
    Case("labelled series without values", "data/label_card.py infer_label_card: no column of values", csv(["a,u", "b,v"], "id,label"), "f.csv has no column of values; found id, label → add a channel", SHOW),
    Case("a channel of lists", "data/labelled.py _channel", lists, "f.parquet: column 'x' holds list(float64) values; expected the numbers of a channel → name the channels: channels=A,B", "data show f.parquet kind=labelled label=kind channels=x"),
    Case("a label that changes within a series", "data/labelled.py _labels", labelled(ROWS[4], "b,1,0.5,u"), "f.csv: the label of series 'b' changes from v to u; expected one label for all rows of a series → correct it, or name another column of ids or of labels", f"{SHOW} label=kind"),
    Case("two steps at the same time", "data/labelled.py _order: have the same time", labelled(ROWS[4], "b,0,0.5,v"), "f.csv: rows 4 and 5 of series 'b' have the same time; expected one row for each step of a series → drop one, or name another column of ids or of time", SHOW),
    Case("a step without a time", "data/labelled.py _order: is empty", labelled(ROWS[4], "b,,0.5,v"), "f.csv: row 5, column 't' is empty; expected a time, or a number that orders the steps, in every row → fill it, or set time= to another column", SHOW),
    Case("a table without the labels of its card", "data/labelled.py read_labelled: has no column", card(old="label: kind", new="label: sign"), "f.csv has no column of labels 'sign'; found id, t, x, kind → choose one of: id, kind, t, x", "data show c.yaml"),
    Case("an option that labelled series have not", "verbs/data_kind.py options_of: is not an option", labelled(), "'lable' is not an option of `forecast data` for labelled series; did you mean label?", f"{SHOW} lable=kind", 2),
    Case("an option of labelled series for a series", "verbs/data.py _options: is an option of …", labelled(), "'label' is an option of labelled series → write kind=labelled too, or leave it out", "data show f.csv label=kind", 2),
    # A file .ts
    Case("a file .ts without data", "data/ts.py _taken_apart: no line @data", ts("1:2:u", drop="@data"), "f.ts has no line @data; expected a header and then the series → correct the file", TS),
    Case("a file .ts without series", "data/ts.py _taken_apart: no series", ts(""), "f.ts has no series after @data; expected one a line → write the file again", TS),
    Case("a file .ts of numbers to be told", "data/ts.py _taken_apart: holds numbers", ts("1:2:0.5", classLabel="@targetLabel true"), "f.ts holds numbers to be told (@targetLabel); expected classes → give other data", TS),
    Case("a series whose channels differ in length", "data/ts.py _plain", ts("1,2:3:u"), "f.ts: the channels of the series in line 6 have 1, 2 steps; expected as many in each, or none where a channel was not measured → correct the line; write ? for a value that is missing", TS),
    Case("a series with fewer channels than the first", "data/ts.py _alike", ts("1:2:u\n1:u"), "f.ts: the series in line 7 has 1 channel; expected 2, as in the first one → correct the line", TS),
    Case("a stamp twice in a file .ts", "data/ts.py _timed", ts("(0,1),(0,2):(0,3):u", timeStamps="@timeStamps true"), "f.ts: the series in line 6 has two values of dim_0 at 0; expected one for each stamp → correct the line", TS),
    Case("a file .ts with text among its values", "data/read.py read_file: cannot be read", ts("1,x:3,4:u"), f"{{here}}/f.ts cannot be read: {ANY}; expected a ts table → check the file", TS),
    # Cards
    Case("labelled series for a task of series", "data/card.py other_kind", card(), "'mine' is a data set of labelled series; expected series → set task=classify", "train data=series data.card=c.yaml", 2),
    Case("labelled series that are only described", "data/label_card.py only_described", nothing, "the card 'heartbeat' only describes its data set; get the files from https://www.timeseriesclassification.com/description.php?Dataset=Heartbeat → write a card that names them (see datasets/README.md), or set data.path=TRAIN.ts data.test=TEST.ts", "data check heartbeat"),
    Case("a file of labelled series of other length than its card says", "verbs/data_check.py differs", card(old="path: f.csv", new="path: f.csv, rows: 19"), "'mine' differs from its card in steps; expected the file the card describes → get the file again, or correct the card", CHECK),
    Case("labelled series with a column in two roles", "data/label_card.py _check: twice; expected each in one role", card("channels: [t]\n"), "{here}/c.yaml names the column 't' twice; expected each in one role → correct the card", CHECK),
    Case("fewer units than channels", "data/label_card.py _check: units for", card("channels: [x, y]\nunits: [V]\n"), "{here}/c.yaml has 1 units for 2 channels; expected one for each, or none → write '' for a unit that is not known", CHECK),
    Case("labelled series without a test part", "data/label_card.py _check: splits has", card("splits: {train: 1}\n"), "{here}/c.yaml: splits has train; expected train and test, and maybe val → give {train: .8, test: .2}, lists of ids, or files", CHECK),
    Case("two files and no word which is which", "data/label_card.py _check: splits that name none", card(old="files: [{path: f.csv}]", new="files: [{path: f.csv}, {path: g.csv}]"), "{here}/c.yaml has 2 files, and splits that name none of them; expected one file, or {train: FILE, test: FILE} → correct the splits", CHECK),
    Case("labelled parts in files that the card does not list", "data/label_card.py _check: names the file", card("splits: {train: f.csv, test: g.csv}\n"), "{here}/c.yaml: splits names the file 'g.csv'; did you mean f.csv? → list it under files", CHECK),
    Case("labelled parts in one file", "data/label_card.py _check: names a file twice", card("splits: {train: f.csv, test: f.csv}\n"), "{here}/c.yaml: splits names a file twice; expected one for each part → correct the card", CHECK),
    Case("a file of a package that may not be asked", "data/address.py check_file: from the package", card(old="path: f.csv", new="path: f.csv, package: os"), "{here}/c.yaml takes f.csv from the package 'os'; expected no package but sktime, and then no url → correct the card", CHECK),
    Case("a file .ts of other channels than its card says", "data/label_card.py adapted", both(ts("1:2:u\n3:4:v"), put(DESCRIBED.replace("f.csv", "f.ts") + "channels: [x]\n", "c.yaml")), "f.ts has 2 channels; expected 1: x → correct the channels, or leave them out", CHECK),
]
