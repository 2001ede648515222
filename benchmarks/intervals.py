"""What intervals hold: `python -m benchmarks intervals` trains on electricity, household and the panel of a shop, and
writes intervals.json and intervals.md: coverage calibrated once and adapting, of single values, of the sum and of the
peak of the horizon, the latter by joint paths and, for comparison, as if every step had its quantile at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from forecast.artifacts import find

HERE = Path(__file__).parent
CASES = {
    "electricity, point": "data=electricity",
    "electricity, quantiles": "data=electricity task.output=quantiles",
    "household, 7 channels, point": "data=household",
    "shop, 388 series, point": "experiment=shop",
    "shop, 388 series, counts": "experiment=shop task.output=negative_binomial data.scale=none",
}
WAYS = ("own", "calibrated", "adapting")


def main() -> None:
    """Train each case, or go on where a run of it is there, and write the table."""
    found = {}
    for name, words in CASES.items():
        folder = Path("runs") / "intervals" / name.replace(", ", "-").replace(" ", "-")
        if not list(folder.glob("train/*/MANIFEST.json")):
            line = [sys.executable, "-m", "forecast", "train", *words.split(), f"runs={folder}", "track=none"]
            subprocess.run([*line, "predictions=false"], check=True)
        metrics = find("latest", folder).read("metrics.json")
        found[name] = {"command": f"forecast train {words}", "model": metrics["model"], **metrics["intervals"]}
    (HERE / "intervals.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "intervals.md").write_text(page(found), encoding="utf-8")


def page(found: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        "# What 90 % intervals hold",
        "",
        "`python -m benchmarks intervals`; all test windows, one seed, the default training of each row.",
        "",
        "Sum and peak: of the whole horizon of a target, by 200 joint paths; beside them what the quantiles of steps,",
        "added up (or the largest of them), would have held. Adapting learns from each value once it is known.",
        "",
        "| | intervals | values | CRPS | energy | sum, paths | sum, marginals | peak, paths | peak, marginals |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        for way in WAYS:
            if way in each:
                lines.append(_line(f"{name} (`{each['command']}`, {each['model']})" if way == WAYS[0] or
                                   (way == WAYS[1] and WAYS[0] not in each) else "", way, each[way]))  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(name: str, way: str, scores: dict[str, Any]) -> str:
    joint = [
        (scores.get(what) or {}).get(how, {}).get("90") for what in ("sum", "peak") for how in ("paths", "marginals")
    ]
    shares = [scores["nominal"]["90"]["coverage"], *joint]
    cells = ["–" if share is None else f"{100 * share:.1f} %" for share in shares]
    energy = scores.get("energy")
    numbers = [f"{scores['crps']:.4f}", "–" if energy is None else f"{energy:.3f}"]
    return "| " + " | ".join([name, way, cells[0], *numbers, *cells[1:]]) + " |"
