"""A table whose stamps, values or series cannot be used."""

from datetime import date, datetime, timedelta

import polars as pl

from .case import ANY, TRAIN, Case
from .make import ROWS, both, changed, csv, forged, frame, gzipped, hours, local, parquet, put, rows, stamps, values

P = "data check f.parquet"
PREDICT = "predict run=run input=f.csv output=o.csv"
SUMS = f"{PREDICT} hierarchy=h.csv reconcile=bottom_up"
AUTUMN, SPRING = datetime(2024, 10, 24), datetime(2024, 3, 28)
EPOCH = 1_704_067_200


def at(step: timedelta, i: int) -> str:
    return f"{datetime(2024, 1, 1) + i * step:%Y-%m-%d %H:%M}"


# fmt: off
CASES = [
    # Stamps
    Case("no column of stamps", "data/infer.py _time_column: …; found columns", csv(head="when,y", lines=[f"{i},{i}" for i in range(ROWS)]), "no column of f.csv holds stamps; found columns when, y → set data.time=COLUMN"),
    Case("several columns of stamps", "data/infer.py _time_column: …; found columns",
         csv([f"{row},{stamp}" for row, stamp in zip(rows(), hours(), strict=True)], "from,y,to"), "the columns from, to all hold stamps; found columns from, y, to → set data.time=COLUMN"),
    Case("seconds since 1970 in a csv", "data/stamps.py _counted", stamps(lambda i: EPOCH + 3600 * i), "f.csv: column 'ds' holds numbers such as 1704067200; expected stamps like 2024-01-31 13:00; they look like seconds since 1970, and this one is 2024-01-01T00:00:00 UTC → convert the column, for example with pandas.to_datetime(column, unit='s')"),
    Case("milliseconds since 1970 in a csv, by name", "data/stamps.py _counted",
         stamps(lambda i: 1000 * (EPOCH + 3600 * i)), "f.csv: column 'ds' holds numbers such as 1704067200000; expected stamps like 2024-01-31 13:00; they look like milliseconds since 1970, and this one is 2024-01-01T00:00:00 UTC → convert the column, for example with pandas.to_datetime(column, unit='ms')", "data check f.csv time=ds"),
    Case("seconds since 1970 in a parquet file", "data/stamps.py _counted",
         parquet(frame(ds=[EPOCH + 3600 * i for i in range(ROWS)])), "f.parquet: column 'ds' holds numbers such as 1704067200; expected stamps like 2024-01-31 13:00; they look like seconds since 1970, and this one is 2024-01-01T00:00:00 UTC → convert the column, for example with pandas.to_datetime(column, unit='s')", P),
    Case("numbers for stamps", "data/stamps.py parse_stamps: not stamps", parquet(frame(ds=[1.5] * ROWS)), "f.parquet: column 'ds' holds float64 values, not stamps; expected stamps like 2024-01-31 13:00 → write dates, or name another time column",
         f"{P} time=ds"),
    Case("durations for stamps", "data/stamps.py parse_stamps: not stamps",
         parquet(frame(ds=[timedelta(hours=i) for i in range(ROWS)])), "f.parquet: column 'ds' holds duration(time_unit='us') values, not stamps; expected stamps like 2024-01-31 13:00 → write dates, or name another time column", f"{P} time=ds"),
    Case("an empty stamp", "data/stamps.py parse_stamps: is empty", changed(5, ",4"), "f.csv: row 5, column 'ds': the stamp is empty; expected stamps like 2024-01-31 13:00 → fill it or drop the row"),
    Case("text for a stamp in every row", "data/stamps.py _from_text: rewrite the column", stamps(lambda i: "soon"), "f.csv: row 1, column 'ds': 'soon' is not a stamp; expected stamps like 2024-01-31 13:00 → rewrite the column",
         "data check f.csv time=ds"),
    Case("text for a stamp in one row", "data/stamps.py _from_text: in the other rows", csv(
         [f"{stamp},1" for stamp in hours(1200)] + ["soon,1"]), "f.csv: row 1201, column 'ds': 'soon' is not a stamp; expected 2024-01-31 13:00 as in the other rows → correct the row"),
    Case("a year beyond the calendar", "data/stamps.py _from_text: rewrite the column",
         stamps(lambda i: f"262144-01-01 {i:02}:00", 24), "f.csv: row 1, column 'ds': '262144-01-01 00:00' is not a stamp; expected stamps like 2024-01-31 13:00 → rewrite the column", "data check f.csv time=ds"),
    Case("a stamp of the year 9999", "data/stamps.py _in_range", changed(100, "9999-12-31 00:00,3"), "f.csv: row 100, column 'ds': the stamp is of the year 9999; expected 1678 to 2261 → correct the stamp or drop the row"),
    Case("stamps of the year 1", "data/stamps.py _in_range", stamps(lambda i: f"0001-01-01 {i:02}:00", 24), "f.csv: row 1, column 'ds': the stamp is of the year 1; expected 1678 to 2261 → correct the stamp or drop the row"),
    Case("milliseconds beyond any year in a parquet file", "data/stamps.py _in_range",
         parquet(frame(ds=(frame()["ds"].cast(pl.Int64) + 10**18).cast(pl.Datetime("ms")))), "f.parquet: row 1, column 'ds': the stamp is of the year 31744708; expected 1678 to 2261 → correct the stamp or drop the row", P),
    Case("day and month that may be swapped", "data/stamps.py _from_text: may start with",
         stamps(lambda i: f"{i % 12 + 1:02}/{i // 12 + 1:02}/2024"), "f.csv: column 'ds': '01/01/2024' may start with the day or month; both fit every row → rewrite the stamps as 2024-01-31 13:00"),
    Case("offsets in some rows only", "data/stamps.py _mixed", changed(5, "2024-01-01 04:00+01:00,4"), "f.csv: column 'ds': row 5 has an offset ('2024-01-01 04:00+01:00'), row 1 has none ('2024-01-01 00:00'); expected all or none with an offset → write the offset in every row"),
    Case("offsets in some rows of a column of another name", "data/stamps.py _mixed",
         csv([row.replace(",", "Z," if i == 7 else ",") for i, row in enumerate(rows(), 1)], "when,y"),
         "f.csv: column 'when': row 7 has an offset ('2024-01-01 06:00Z'), row 1 has none ('2024-01-01 00:00'); expected all or none with an offset → write the offset in every row"),
    Case("no offset in one row", "data/stamps.py _mixed",
         csv([row.replace(",", "Z," if i != 90 else ",") for i, row in enumerate(rows(), 1)]), "f.csv: column 'ds': row 1 has an offset ('2024-01-01 00:00Z'), row 90 has none ('2024-01-04 17:00'); expected all or none with an offset → write the offset in every row"),
    Case("stamps out of order", "data/read.py _ordered: comes after",
         csv([*rows()[:10], rows()[11], rows()[10], *rows()[12:]]), "f.csv: row 12, column 'ds': 2024-01-01 10:00 comes after 2024-01-01 11:00 in series 'f'; expected rising stamps → sort the file by ds"),
    Case("stamps of a series out of order", "data/read.py _ordered: comes after",
         csv([f"a,{rows()[i]}" for i in (0, 2, 1)] + [f"b,{row}" for row in rows()], "unique_id,ds,y"), "f.csv: row 3, column 'ds': 2024-01-01 01:00 comes after 2024-01-01 02:00 in series 'a'; expected rising stamps → sort the file by unique_id, ds"),
    Case("a stamp twice", "data/read.py _ordered: stands twice", csv([*rows()[:10], f"{hours()[9]},7", *rows()[10:]]), "f.csv: rows 10 and 11, column 'ds': 2024-01-01 09:00 stands twice in series 'f' with different values; expected each stamp once → name the column of series in data.id, or drop one"),
    Case("a stamp twice in a series", "data/read.py _ordered: stands twice",
         csv([f"a,{row}" for row in rows()] + [f"b,{row}" for row in [*rows(), f"{hours()[-1]},7"]], "unique_id,ds,y"), "f.csv: rows 200 and 201, column 'ds': 2024-01-05 03:00 stands twice in series 'b' with different values; expected each stamp once → drop or average one of them"),
    Case("the hour that autumn shows twice, without a zone", "data/read.py _ordered: stands twice",
         local("Europe/Berlin", AUTUMN), "f.csv: rows 73 and 74, column 'ds': 2024-10-27 02:00 stands twice in series 'f' with different values; expected each stamp once → name the column of series in data.id, or drop one; if clocks went back there, set data.zone, for example data.zone=Europe/Berlin"),
    Case("the half hours that autumn shows twice, without a zone", "data/read.py _ordered: comes after",
         csv([f"{stamp},{i}" for i, stamp in enumerate(["2024-11-03 01:00", "2024-11-03 01:30", "2024-11-03 01:00",
              "2024-11-03 01:30", "2024-11-03 02:00"])]), "f.csv: row 3, column 'ds': 2024-11-03 01:00 comes after 2024-11-03 01:30 in series 'f'; expected rising stamps → sort the file by ds; if clocks went back there, set data.zone, for example data.zone=Europe/Berlin"),
    Case("the hour that spring leaves out, without a zone", "data/table.py apply_gaps: has a gap",
         local("Europe/Berlin", SPRING), "series 'f' has a gap of 1 step from 2024-03-31 02:00 (1 gap, 0.50% of the values; the longest is 1 step from 2024-03-31 02:00); expected a value at every step → set data.gaps=fill or data.gaps=mask, or, if clocks went forward there, data.zone", TRAIN),
    Case("an hour that no clock of the zone showed", "data/read.py shown", csv(rows(first=SPRING)), "f.csv: row 75, column 'ds': 2024-03-31 02:00 was never shown by a clock in Europe/Berlin; the clock went forward there → correct the stamp, or set data.zone=UTC",
         "data check f.csv zone=Europe/Berlin"),
    Case("the same, with the step known", "data/read.py shown", csv(rows(first=SPRING)), "f.csv: row 75, column 'ds': 2024-03-31 02:00 was never shown by a clock in Europe/Berlin; the clock went forward there → correct the stamp, or set data.zone=UTC",
         "data check f.csv zone=Europe/Berlin freq=h"),
    Case("a mistyped zone", "data/clock.py known_zone", csv(), "'Europe/Berln' is not a time zone; expected an IANA name such as Europe/Berlin → did you mean Europe/Berlin or Europe/Belfast or Europe/Helsinki?", "data check f.csv zone=Europe/Berln"),
    # The step
    Case("a step that cannot be read", "data/freq.py parse_freq: is not a frequency", csv(), "'hourly' is not a frequency; expected a pandas or polars alias such as 15min, h, D, B, W, MS, QS or YS → set data.freq=h",
         "data check f.csv freq=hourly"),
    Case("a step with a wrong anchor", "data/freq.py parse_freq: has the anchor", csv(), "'W-DAY' has the anchor 'DAY'; expected one of MON, TUE, WED, THU, FRI, SAT, SUN → set data.freq=W",
         "data check f.csv freq=W-DAY"),
    Case("one row", "data/infer.py real_step", csv(rows(1)), "f.csv, column 'ds': the step between stamps cannot be seen: no series has two different stamps; expected at least two rows in a series → set data.freq, for example data.freq=h", also=("data/freq.py infer_freq: cannot be seen",)),
    Case("one row in each series", "data/infer.py real_step", csv([f"s{i},{rows(1)[0]}" for i in range(9)], "unique_id,ds,y"), "f.csv, column 'ds': the step between stamps cannot be seen: no series has two different stamps; expected at least two rows in a series → set data.freq, for example data.freq=h",
         also=("data/freq.py infer_freq: cannot be seen",)),
    Case("no regular step", "data/infer.py real_step", stamps(lambda i: at(timedelta(minutes=30), 2 * i + (i % 10 == 9))), "f.csv, column 'ds': the stamps have no regular step: most are 1 h apart, some 90 min; expected one step such as 15min, h, D, B, W, MS, QS or YS → set data.freq to the step, or resample the file",
         also=("data/freq.py infer_freq: no regular step",)),
    Case("two steps as often as each other", "data/infer.py real_step",
         stamps(lambda i: at(timedelta(hours=1), 3 * (i // 2) + i % 2)), "f.csv, column 'ds': the step is ambiguous: of 99 steps 50 are 1 h, 49 are 2 h; expected one step between two thirds of the rows → set data.freq, for example data.freq=h",
         also=("data/freq.py infer_freq: ambiguous",)),
    Case("a stamp off the grid", "data/read.py _on_grid", changed(5, "2024-01-01 04:30,4"), "f.csv: row 5, column 'ds': 2024-01-01 04:30 is not a whole number of steps (h) after 2024-01-01 00:00 in series 'f'; expected a regular grid → set data.freq to the real step, or correct the stamp", "data check f.csv freq=h"),
    Case("a last stamp years after the others", "data/table.py regular", changed(100, "2199-12-31 00:00,3"), "f.csv: series 'f' spans 1,542,769 steps of h but has 100 rows; expected nearly one row per step → correct the first or last stamp, or set data.freq to the real step"),
    # Values
    Case("missing rows", "data/table.py apply_gaps: has a gap", csv([*rows()[:40], *rows()[45:]]), "series 'f' has a gap of 5 steps from 2024-01-02 16:00 (1 gap, 5.00% of the values; the longest is 5 steps from 2024-01-02 16:00); expected a value at every step → set data.gaps=fill or data.gaps=mask", TRAIN),
    Case("a missing value of one of two channels", "data/table.py apply_gaps: has a gap",
         values(lambda i: f"{i},{i if i != 40 else ''}", "ds,y,z"), "series 'f' has a gap of 'z' of 1 step from 2024-01-02 16:00 (1 gap, 0.50% of the values; the longest is 1 step in 'z' from 2024-01-02 16:00); expected a value at every step → set data.gaps=fill or data.gaps=mask", TRAIN),
    Case("text in a row", "data/stamps.py parse_numbers: is not a number", changed(5, "2024-01-01 04:00,many"), "f.csv: row 5, column 'y': 'many' is not a number; expected a number → correct it or leave the cell empty"),
    Case("decimal commas", "data/stamps.py parse_numbers: is not a number", csv(
         [f"{stamp};{i},5" for i, stamp in enumerate(hours())], "ds;y"), "f.csv: row 1, column 'y': '0,5' is not a number; expected a number → write a decimal point and no thousands separators"),
    Case("quoted decimal commas", "data/stamps.py parse_numbers: is not a number", values(lambda i: f'"{i},5"'), "f.csv: row 1, column 'y': '0,5' is not a number; expected a number → write a decimal point and no thousands separators"),
    Case("thousands separators", "data/stamps.py parse_numbers: is not a number", values(lambda i: f'"1,{i + 100}.5"'), "f.csv: row 1, column 'y': '1,100.5' is not a number; expected a number → write a decimal point and no thousands separators"),
    Case("points in thousands, a decimal comma", "data/stamps.py parse_numbers: is not a number", csv(
         [f"{stamp};1.{i + 100},5" for i, stamp in enumerate(hours())], "ds;y"), "f.csv: row 1, column 'y': '1.100,5' is not a number; expected a number → write a decimal point and no thousands separators"),
    Case("percent signs", "data/infer.py _numbers: neither numbers", values(lambda i: f"{i}%"), "f.csv: column 'y' is neither numbers nor the time: '0%'; expected numeric columns → set data.target=COLUMN to leave it out, or data.id=y if it names the series"),
    Case("a column of text", "data/infer.py _numbers: neither numbers", csv([f"{row},warm" for row in rows()], "ds,y,note"), "f.csv: column 'note' is neither numbers nor the time: 'warm'; expected numeric columns → set data.target=COLUMN to leave it out, or data.id=note if it names the series"),
    Case("nothing beside the stamps", "data/infer.py _numbers: no numeric column", csv(hours(), "ds"), "f.csv has no numeric column beside 'ds'; expected at least one to forecast → check the file"),
    Case("an infinite value", "data/stamps.py parse_numbers: finite", changed(5, "2024-01-01 04:00,-inf"), "f.csv: row 5, column 'y': the value is infinite; expected a finite number → correct it or leave the cell empty"),
    Case("a number beyond float64", "data/stamps.py parse_numbers: finite", changed(5, "2024-01-01 04:00,1e400"), "f.csv: row 5, column 'y': the value is infinite; expected a finite number → correct it or leave the cell empty"),
    Case("a number beyond reason", "data/stamps.py parse_numbers: finite", changed(5, "2024-01-01 04:00,1e300"), "f.csv: row 5, column 'y': the value is 1e+300, more than 1e+100; expected a finite number → correct it or leave the cell empty"),
    Case("an infinite value in a parquet file", "data/stamps.py parse_numbers: finite",
         parquet(frame(y=[float("inf")] * ROWS)), "f.parquet: row 1, column 'y': the value is infinite; expected a finite number → correct it or leave the cell empty", P),
    Case("a number too large for float32 once scaled", "data/batch.py _bounded", changed(95, "2024-01-04 22:00,1e30"), "channel 'y' of series 'f' has 1e+30 at 2024-01-04 22:00, 1.5e+29 when scaled; expected at most 1e+15 → correct the value, or set data.missing to it if it means that nothing was measured", TRAIN),
    Case("no value in any row", "data/read.py nowhere", values(lambda i: ""), "f.csv: column 'y' has no value in any row; expected numbers → leave it out of data.target and data.past"),
    Case("null values in a parquet file", "data/read.py nowhere", parquet(frame(y=[None] * ROWS)), "f.parquet: column 'y' has no value in any row; expected numbers → leave it out of data.target and data.past", P),
    Case("lists in a parquet file", "data/stamps.py parse_numbers: …: column '…' holds … values", parquet(frame(y=[[1.0]] * ROWS)), "f.parquet: column 'y' holds list(float64) values; expected numbers → name other channels in data.target and data.past", P),
    Case("records in a parquet file", "data/stamps.py parse_numbers: …: column '…' holds … values", parquet(frame(y=[{"a": 1}] * ROWS)), "f.parquet: column 'y' holds struct({'a': int64}) values; expected numbers → name other channels in data.target and data.past", P),
    Case("durations in a parquet file", "data/stamps.py parse_numbers: …: column '…' holds … values",
         parquet(frame(y=[timedelta(hours=1)] * ROWS)), "f.parquet: column 'y' holds duration(time_unit='us') values; expected numbers → name other channels in data.target and data.past", P),
    Case("bytes in a parquet file", "data/stamps.py parse_numbers: …: column '…' holds … values", parquet(frame(y=[b"1"] * ROWS)), "f.parquet: column 'y' holds binary values; expected numbers → name other channels in data.target and data.past", P),
    Case("dates in a parquet file", "data/stamps.py parse_numbers: …: column '…' holds … values",
         parquet(frame(y=[date(2024, 1, 1)] * ROWS)), "f.parquet: column 'y' holds date values; expected numbers → name other channels in data.target and data.past", f"{P} target=y"),
    # Series
    Case("a series without a name", "data/read.py series_names", csv([f"{'a' if i else ''},{row}" for i, row in enumerate(rows())],
         "unique_id,ds,y"), "f.csv: row 1, column 'unique_id': the name of the series is empty; expected a name in every row → fill it or drop the row"),
    Case("lists for names of series", "data/stamps.py parse_names", parquet(frame(unique_id=[[1]] * ROWS)), "f.parquet: column 'unique_id' holds list(int64) values, not names of series; expected text or numbers → name another column in data.id",
         f"{P} id=unique_id"),
    Case("two columns that may name the series", "data/infer.py _id_column",
         csv([f"{row},{a},{b}" for row in rows() for a in "ab" for b in "cd"], "ds,y,shop,item"), "f.csv: stamps repeat, and the columns shop, item hold text; expected one that names the series → set data.id=COLUMN"),
    Case("a series without a value to learn from", "data/scale.py settled",
         values(lambda i: "" if i < 80 else i), "channel 'y' of series 'f' has no value in the 70 training rows; expected at least one → change data.splits, or leave the channel out", f"{TRAIN} data.gaps=mask"),
    Case("a part without a value to score", "verbs/checks.py something_to_learn",
         values(lambda i: i if i < 75 else ""), "no target was observed in the test part → change data.splits", f"{TRAIN} data.gaps=mask"),
    Case("a series shorter than a window", "data/window.py _refuse", csv(rows(18)), "the train part of series 'f' has 12 rows; a window needs 15 (context 12, horizon 3) → lower task.context or task.horizon, or change data.splits", TRAIN),
    Case("two series shorter than a window", "data/window.py _refuse",
         csv([f"{name},{row}" for name in "ab" for row in rows(10)], "unique_id,ds,y"), "the train part of series 'a' has 7 rows (and 1 more of 2 series); a window needs 15 (context 12, horizon 3) → lower task.context or task.horizon, or change data.splits", TRAIN),
    Case("weights that differ in a series", "data/panel.py column_weights: has the weight",
         csv([f"a,{row},{i % 2 + 1}" for i, row in enumerate(rows())], "unique_id,ds,y,w"), "f.csv, column 'w': series 'a' has the weight 1 and 2; expected one number for all rows of a series, 0 or more, and more than 0 for one of them → correct the column", f"{TRAIN} data.weight=w"),
    Case("a short history masked for a model without masks", "data/recipe.py masks: short=mask", csv(rows(5)), "short=mask with a run that was trained with data.gaps=error; expected a model that is told what it did not see → give a longer history, or train with data.gaps=mask data.min_context=1", f"{PREDICT} short=mask", 2, run=True),
    # Sums
    Case("a hierarchy of one column", "data/hierarchy.py of", both(csv(), put("parent\na\n", "h.csv")), "h.csv has the column parent alone; expected parent and child, or the names of series and columns to group them by → add a column", SUMS),
    Case("a hierarchy with an empty name", "data/hierarchy.py _names", both(csv(), put("parent,child\nall,\n", "h.csv")), "h.csv: row 1, column 'child' is empty; expected a name → fill it or drop the row", SUMS),
    Case("a node of two parents", "data/hierarchy.py _tree: has the parents", both(csv(), put("parent,child\nall,f\nmore,f\n", "h.csv")), "h.csv: 'f' has the parents 'all' and 'more'; expected one parent for each child → drop one, or give a row for each series and columns to group by", SUMS),
    Case("a node above itself", "data/hierarchy.py _tree: above itself", both(csv(), put("parent,child\na,b\nb,a\na,f\n", "h.csv")), "h.csv: 'b' is above itself; expected a tree → correct the parents", SUMS),
    Case("a series in two groups of one kind", "data/hierarchy.py _groups: twice", both(csv(), put("unique_id,kind\nf,x\nf,y\n", "h.csv")), "h.csv names the series 'f' twice; expected one row for each series → drop one", SUMS),
    Case("a series named as a sum", "data/hierarchy.py _groups: name of a sum", both(csv(), put("unique_id,kind\ntotal,x\n", "h.csv")), "h.csv: 'total' is a series and the name of a sum; expected names of their own → rename the series", SUMS),
    Case("a hierarchy of other series", "inference/reconcile.py _complete: does not hold", both(csv(), put("parent,child\nall,f\nall,g\n", "h.csv")), "the hierarchy names 'g', which the input does not hold; expected every series for reconcile=bottom_up → add it, or correct the hierarchy", SUMS, run=True),
    Case("a history shorter than the context", "data/table.py extend", csv(rows(11)), "series 'f' has 11 rows; expected at least 12, the context of the model → give a longer history", PREDICT, run=True),
    Case("a history without a column of the model", "data/read.py from_frame: has no column", csv(head="ds,load"), "f.csv has no column 'y'; found ds, load → choose one of: ds, load", PREDICT,
         run=True),
    Case("a history with an infinite value", "data/stamps.py parse_numbers: finite", changed(99, "2024-01-05 02:00,inf"), "f.csv: row 99, column 'y': the value is infinite; expected a finite number → correct it or leave the cell empty",
         PREDICT, run=True),
    Case("a history with a value beyond float32", "data/batch.py _bounded", changed(99, "2024-01-05 02:00,1e30"), "channel 'y' of series 'f' has 1e+30 at 2024-01-05 02:00, 1.5e+29 when scaled; expected at most 1e+15 → correct the value, or set data.missing to it if it means that nothing was measured",
         PREDICT, run=True),
    Case("a history that is a gzip archive", "data/formats.py refuse: … is … by its first bytes", put(gzipped()),
         "{here}/f.csv is a gzip archive by its first bytes; expected a csv table → unpack it", PREDICT, run=True),
    Case("other data than the run was trained on", "verbs/evaluate.py same_data", 
         forged("data.json", lambda data: {**data, "source": {**data["source"], "sha256": "0" * 64}}), f"{ANY}/f.csv is not the file that run run was trained on (its sha256 differs) → restore the file, or use: forecast predict", "evaluate run=run", run=True),
]
