"""Days off, addresses, downloads; the verbs sync, reproduce and completion."""

import json
from datetime import timedelta
from pathlib import Path

from .case import ANY, TRAIN, Case, Maker, nothing
from .make import FIRST, both, card, csv, forged, in_run, put, stamps

SHOW = "data show c.yaml"
FETCH = "data fetch c.yaml to=."
OFF = f"{TRAIN} data.holidays=h.csv"
CLOSED = "http://127.0.0.1:9"  # nothing listens there
URL = "url: https://example.org/f.csv"  # nothing is asked for that is there already
JOURNAL = {"do": "create", "at": 0, "uri": CLOSED}


def off(text: str) -> Maker:
    """The plain csv, whose days are 2024-01-01 to 05, and a table of days off."""
    return both(csv(), put(text, "h.csv"))


def of_file(words: str) -> Maker:
    """A card that says more of its file."""
    return card("path: f.csv", f"path: f.csv, {words}")


def in_its_place(folder: Path) -> None:
    card("path: f.csv", f"path: g.csv, {URL}")(folder)
    (folder / "g.csv").mkdir()


def tracked(journal: str, sent: str | None = None) -> Maker:
    """A run of which this is known that MLflow should hear."""

    def make(folder: Path) -> None:
        run = folder / "runs" / "train" / "20250101T000000Z-aaaaaaaa"
        run.mkdir(parents=True)
        (run / "mlflow.jsonl").write_text(journal, encoding="utf-8")
        if sent is not None:
            (run / "mlflow.json").write_text(sent, encoding="utf-8")

    return make


# fmt: off
CASES = [
    # Days off
    Case("days off of no country", "data/settings.py asked", csv(), "data.holidays names 'Germny', which is no country that the package holidays knows; expected its code, such as DE, DE-BY or US-CA, or a table such as mine.csv → did you mean DE?", f"{TRAIN} data.holidays=Germny", 2, also=("data/holidays.py _code: is no country",)),
    Case("days off of no part of a country", "data/settings.py asked", csv(), "data.holidays names 'DE-BX', which is no part of DE; did you mean DE-HB or DE-BY or DE-BW?", f"{TRAIN} data.holidays=DE-BX", 2, also=("data/holidays.py _code: is no part",)),
    Case("days off of Norway, unquoted", "data/holidays.py _code: NO means no", card("kind:", "holidays: NO\nkind:"), "{here}/c.yaml: holidays is False; expected a country; NO means no in YAML → write 'NO' in quotes", SHOW),
    Case("days off of a number", "data/settings.py asked", csv(), "data.holidays is 7; expected a country or a list of countries → e.g. DE, DE-BY or US-CA", f"{TRAIN} data.holidays=7", 2, also=("data/holidays.py named",)),
    Case("days off among weeks", "data/settings.py asked", stamps(lambda i: f"{FIRST + timedelta(weeks=i):%Y-%m-%d}"), "data.holidays with a step of W-MON; expected steps of a day or shorter → leave data.holidays out", f"{TRAIN} data.holidays=DE", 2, also=("data/holidays.py suits",)),
    Case("days off before there was a law", "data/holidays.py _of_country", csv(["1930-01-01,1", "1930-01-02,2"]), f"data.holidays=DE: the data need the years 1929 to 1930; the package holidays knows {ANY} → give a table of your own, or leave data.holidays out", "data check f.csv holidays=DE"),
    Case("days off in a table that is not there", "data/read.py read_file: …; expected a file", csv(), "{here}/h.csv does not exist; expected a file (.csv, .jsonl, .ndjson, .parquet, .pq) → correct the path", OFF),
    Case("days off without a header", "data/holidays.py read_table: begins with a date", off("2024-01-01\n2024-02-01\n"), "{here}/h.csv begins with a date; expected the names of its columns → add a first row: date,name", OFF),
    Case("days off without a date", "data/holidays.py read_table: expected one", off("name\nx\n"), "{here}/h.csv has no column of dates; expected one, such as 2024-12-24 → correct the table", OFF),
    Case("days off with a time of the day", "data/holidays.py read_table: times of a day", off("day\n2024-01-01 13:00\n"), "{here}/h.csv: column 'day' holds times of a day; expected dates → write 2024-12-24", OFF),
    Case("days off that begin too late", "data/holidays.py _reaches: begins with", off("day\n2024-01-03\n2024-02-01\n"), "{here}/h.csv begins with 2024-01-03, the data with 2024-01-01; a table speaks from its first day to its last → add the last holiday on or before that day", OFF),
    Case("days off that end too early", "data/holidays.py _reaches: ends with", off("day\n2024-01-01\n2024-01-03\n"), "{here}/h.csv ends with 2024-01-03, the data or the forecast with 2024-01-05; a table speaks from its first day to its last → add the days until then, and the next holiday after it", OFF),
    # What a card says of its file
    Case("a sha256 that is a number", "data/address.py check_file: expected text", of_file("sha256: 0"), "{here}/c.yaml: sha256 is 0; expected text → write it in quotation marks", SHOW),
    Case("a sha256 of other signs", "data/address.py check_file: has the sha256", of_file("sha256: ABC"), "{here}/c.yaml has the sha256 'ABC'; expected 64 hexadecimal digits → correct it", SHOW),
    Case("a number of rows that is none", "data/address.py check_file: expected a number", of_file("rows: many"), "{here}/c.yaml: rows is 'many'; expected a number → correct the card", SHOW),
    Case("an address that is not https", "data/address.py check_url", of_file("url: http://example.org/f.csv"), "{here}/c.yaml names the address 'http://example.org/f.csv'; expected https://… → give another address", SHOW),
    Case("a member of what is no archive", "data/address.py check_file: names the member", of_file(f"{URL}, member: f.csv"), "{here}/c.yaml names the member 'f.csv'; expected the url of an archive → leave it out", SHOW),
    # forecast data fetch
    Case("fetch of a file without an address", "verbs/data_fetch.py fetch: names no address", card(), "the card of 'mine' names no address of f.csv; get it from its source → put it below FORECAST_DATA", FETCH),
    Case("fetch to nowhere", "verbs/data_fetch.py fetch: there is no folder", of_file(URL), "there is no folder to put the files in; expected to=DIR or FORECAST_DATA → export FORECAST_DATA=~/data, or write: forecast data fetch c.yaml to=DIR", "data fetch c.yaml", 2),
    Case("an option that forecast data fetch has not", "verbs/data_fetch.py _folder: is not an option", of_file(URL), "'too' is not an option of `forecast data fetch`; did you mean to?", "data fetch c.yaml too=.", 2),
    Case("fetch to a folder without a name", "verbs/data_fetch.py _folder: has no value", of_file(URL), "to has no value; expected to=DIR → see `forecast data --help`", "data fetch c.yaml to=", 2),
    Case("fetch to a folder that cannot be", "data/fetch.py place: cannot be made", of_file(URL), "{here}/f.csv cannot be made: File exists → set to=DIR to a folder", "data fetch c.yaml to=f.csv"),
    Case("fetch from an address that is none", "data/fetch.py _download: correct the card", card("path: f.csv", "path: g.csv, url: https://*.example.org/f.csv"), f"https://*.example.org/f.csv cannot be fetched: {ANY} → correct the card", FETCH),
    Case("fetch where a folder stands", "data/fetch.py fetch: is no file", in_its_place, "{here}/g.csv is no file; expected the data there → move it away to fetch the file", FETCH),
    Case("fetch where another file is", "data/fetch.py fetch: is there", of_file(f"{URL}, sha256: {'a' * 64}"), "{here}/f.csv is there, with the sha256 1026aecfe42e…; the card expects aaaaaaaaaaaa… → move it away to fetch the file", FETCH),
    # forecast completion, forecast sync
    Case("completion of a mistyped shell", "verbs/complete.py main", nothing, "there is no `forecast completion fsh`; did you mean fish or zsh? → see --help", "completion fsh", 2),
    Case("a word of forecast sync without a key", "verbs/words.py read: KEY=VALUE", nothing, "'latest' is not KEY=VALUE; expected run, uri, runs → see forecast sync --help", "sync latest", 2),
    Case("a key that forecast sync has not", "verbs/words.py read: is not a key", nothing, "rnu is not a key of forecast sync; expected run, uri, runs → did you mean run?", "sync rnu=latest", 2),
    Case("a key of forecast sync without its value", "verbs/words.py read: has no value", nothing, "run has no value; expected run=…", "sync run=", 2),
    Case("a wait of less than nothing", "track.py make_tracker", csv(), "track.wait is -1; expected seconds, 0 or more", f"{TRAIN} track=mlflow track.wait=-1", 2),
    Case("no tracked run", "verbs/sync.py _folders: no tracked run", nothing, "no tracked run in runs/train → name a run by its path, or set runs=FOLDER", "sync", 4),
    Case("a run that was not tracked", "verbs/sync.py _folders: has nothing", in_run(lambda run: None), "{here}/run has nothing for MLflow; expected a run that was trained with track=mlflow", "sync run=run", 4, run=True),
    Case("a run killed as it started", "verbs/sync.py _store_of", tracked(""), "{here}/runs/train/20250101T000000Z-aaaaaaaa: its journal does not begin; the run was killed as it started → delete it", "sync", 4),
    Case("a damaged note of what was sent", "spool.py _all", tracked(json.dumps(JOURNAL) + "\n", "{"), "{here}/runs/train/20250101T000000Z-aaaaaaaa/mlflow.json is damaged → delete it, and the run is sent from its beginning", "sync", 4),
    Case("a server that is not there", "verbs/sync.py main", tracked(json.dumps(JOURNAL) + "\n"), f"1 of 1 runs not sent: {CLOSED}: connection refused → it is all kept; try again later", "sync", 5),
    # forecast reproduce
    Case("nothing to reproduce", "verbs/reproduce.py main", nothing, "neither run nor mlflow is set; expected one of them → e.g. forecast reproduce run=latest", "reproduce", 2),
    Case("a tolerance that is no number", "verbs/reproduce.py _tolerance", nothing, "tolerance is 'x'; expected a number, 0 or more → e.g. tolerance=1e-6", "reproduce run=latest tolerance=x", 2),
    Case("a server to reproduce from that is not there", "verbs/reproduce.py _downloaded: …: …; set uri=", nothing, f"{CLOSED}: connection refused → set uri=, or try again later", f"reproduce mlflow=0123 uri={CLOSED}", 5),
    Case("a run without scores", "verbs/reproduce.py _checked: has no scores", forged("metrics.json", lambda metrics: {"rows": []}), "run has no scores or no data record; expected what forecast train writes", "reproduce run=run", 4, run=True),
    Case("a config with a key that is not ours", "verbs/reproduce.py fitted", forged("config.json", lambda config: {**config, "sed": 1}), "the config of run cannot be used: Key 'sed' not in 'Train' → train again with its command", "reproduce run=run", 4, run=True),
    Case("a config that asks for a secret", "verbs/reproduce.py _plain", forged("config.json", lambda config: {**config, "name": "${oc.env:HOME}"}), "the config of run holds '${oc.env:HOME}'; expected plain values", "reproduce run=run", 4, run=True),
    Case("a run to reproduce on other data", "verbs/reproduce.py _same_data", forged("data.json", lambda data: {**data, "source": {**data["source"], "sha256": "0" * 64}}), f"{ANY}/f.csv is not the file that run was trained on (its sha256 differs) → restore the file, or say where it is with path=FILE", "reproduce run=run", run=True),
]
