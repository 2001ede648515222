"""How long the errors of 10 million rows of predictions take to sum: python -m benchmarks.errors [rows].

The two runs of `benchmarks.browse`, each in a process of its own, so that its memory is its own: seconds and seconds of
CPU until all sums are there, the same for one series (whose row groups alone are read), milliseconds of each part of
the page once they are, until what the browser gets is JSON, and the most memory of the process beside what it had
before.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plotly.utils import PlotlyJSONEncoder

from benchmarks.browse import ROWS, SHAPES, make
from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.dashboards import load
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import errors
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.series.residuals import measure
from forecast.dashboards.series.scored import Choice
from forecast.verbs.tables import table

RESULTS = Path(__file__).with_suffix(".json")


def measured(path: Path) -> Row:
    """Of one run, in a process that has done nothing else."""
    run, before = load.read(path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, spent = time.perf_counter(), time.process_time()
    found = measure(run)
    whole = {"sums_s": time.perf_counter() - start, "cpu_s": time.process_time() - spent}
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert found is not None
    start = time.perf_counter()
    measure(run, Choice("", found.series["unique_id"][0]))
    one = time.perf_counter() - start
    errors.measured.get(run, Choice(), 600)
    parts = {}
    for show in errors.PARTS:
        start = time.perf_counter()
        made = errors.render(View(Sources(path.parent), {"run": (path.name,), "show": (show,)}, "light"))
        json.dumps(made, cls=PlotlyJSONEncoder)
        parts[f"{show}_ms"] = 1000 * (time.perf_counter() - start)
    return {"run": path.name, "rows": found.n, **whole, "one_series_s": one, "peak_mib": peak, **parts}


def main(rows: int) -> None:
    """Make the runs, measure them, print and keep the results."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES.values():
            path = make(Path(folder), *shape, rows)
            (path / "MANIFEST.json").write_text("{}")
            command = [sys.executable, "-m", "benchmarks.errors", "of", str(path)]
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
            found.append(json.loads(said))
    names = list(found[0])
    print(table(names, [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in found]))
    if rows == ROWS:
        write_json(RESULTS, {"machine": machine(), "rows": found})


if __name__ == "__main__":
    if sys.argv[1:2] == ["of"]:
        print(json.dumps(measured(Path(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
