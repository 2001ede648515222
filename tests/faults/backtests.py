"""What `forecast backtest` cannot do."""

from .case import Case, nothing
from .make import both, csv, put

BACK = "backtest run=run output=o"


# fmt: off
CASES = [
    Case("origins by no step", "backtest/origins.py parse: step is", nothing, "step is 0; expected steps from origin to origin, at least 1", f"{BACK} step=0", 2),
    Case("no origins", "backtest/origins.py parse: origins is …; expected at least 1", nothing, "origins is 0; expected at least 1", f"{BACK} origins=0", 2),
    Case("origins in a word", "backtest/origins.py parse: expected a count or stamps", nothing, "origins is 'all'; expected a count or stamps → set origins=100, or 'origins={first: 2024-01-31, last: 2024-02-29}'", f"{BACK} origins=all", 2),
    Case("a mistyped end of origins", "backtest/origins.py parse: origins has no", nothing, "origins has no frist; expected first and last → did you mean first?", f"{BACK} 'origins={{frist: 2024-01-02}}'", 2),
    Case("an origin that is no stamp", "backtest/origins.py _moment", nothing, "origins.first is 'soon'; expected a stamp → e.g. 2024-01-31, or 2024-01-31T06:00", f"{BACK} 'origins={{first: soon}}'", 2),
    Case("more origins than there are", "backtest/origins.py rolled", nothing, "origins=500 with step=1: series 'f' has 86; an origin has 12 steps before it and 3 after it → ask for fewer, or lower step", f"{BACK} origins=500", 3, run=True),
    Case("origins after the data", "backtest/origins.py _refuse: there is no origin", nothing, "there is no origin (first 2025-01-01, last –); an origin has 12 steps before it and 3 after it → choose them between 2024-01-01 11:00 and 2024-01-05 00:00", f"{BACK} 'origins={{first: 2025-01-01}}'", 3, run=True),
    Case("a file without a context", "backtest/origins.py _refuse: no series is long enough", csv(name="g.csv", lines=["2024-01-01 00:00,1", "2024-01-01 01:00,2"]), "no series is long enough for an origin: the longest has 2 rows; an origin has 12 steps before it and 3 after it → give longer series", f"{BACK} input=g.csv", 3, run=True),
    Case("a backtest over no file", "backtest/table.py of_file", nothing, "none.csv is no file; expected a csv or parquet file with the columns of the training data", f"{BACK} input=none.csv", 3, run=True),
    Case("a backtest of no windows at a time", "verbs/backtest.py planned: batch_size", nothing, "batch_size is 0; expected at least 1", f"{BACK} batch_size=0", 2, run=True),
    Case("a horizon beyond the run's", "verbs/backtest.py planned: horizon is", nothing, "horizon is 9; expected 1 … 3, what the run forecasts → train with a longer task.horizon", f"{BACK} horizon=9", 2, run=True),
    Case("covariates of the run's own data", "verbs/backtest.py planned: covariates=", nothing, "covariates= without input=; the run's own data have theirs → set input=, or leave it out", f"{BACK} covariates=c.csv", 2, run=True),
    Case("a refit on another file", "verbs/backtest.py planned: refit= with input=", csv(), "refit= with input=: a refit trains on the run's own data → leave one of them out", f"{BACK} input=f.csv refit=every:2", 2, run=True),
    Case("a refit of a stream", "verbs/backtest.py planned: refit= with policy=", nothing, "refit= with policy=both: a stream keeps its model → leave one of them out", f"{BACK} policy=both refit=every:2", 2, run=True),
    Case("a warm start of nothing", "verbs/backtest.py planned: warm=true", nothing, "warm=true without refit=; nothing is trained → set refit=every:K, or leave it out", f"{BACK} warm=true", 2, run=True),
    Case("a refit now and then", "verbs/backtest_refit.py every", nothing, "refit is 'often'; expected never or every:K, K origins → e.g. refit=every:4", f"{BACK} refit=often", 2, run=True),
    Case("a refit on nothing", "verbs/backtest_refit.py _enough", nothing, "before the first origin, 2024-01-01 15:00, the longest series has 16 rows; a refit needs 25 (validation 10, context 12, horizon 3) → choose later origins", f"{BACK} refit=every:2 'origins={{first: 2024-01-01T15:00}}'", 3, run=True),
    Case("a backtest that is there", "verbs/backtest.py free: exists", put("{}", "o/metrics.json"), "o exists → name another folder, or set overwrite=true", BACK, 2),
    Case("a backtest into a file", "verbs/backtest.py free: is no folder", put("precious", "o"), "o is no folder → name another place", BACK, 2),
    Case("a backtest into a folder of other things", "verbs/backtest.py free: holds", put("precious", "o/diary.txt"), "o holds diary.txt, which is of no backtest → name another folder", f"{BACK} overwrite=true", 2),
    Case("a backtest that cannot be written", "verbs/backtest.py _cannot", both(nothing, put("precious", "f")), "f/o cannot be written: Not a directory → name another place", "backtest run=run output=f/o", 2, run=True),
]
