"""What train and evaluate print of classification: aligned plain text, the model beside its rival and the floor."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from forecast.artifacts import Run
from forecast.verbs.tables import number, percent, short, table

SMALL = 10  # classes whose table of confusion a terminal has room for
WORST = 8  # pairs of classes that are listed where there are more
LETTERS = 9  # of the name of a class above its column
ORDER = ("model", "ensemble", "rival", "floor")
EARLY = (0.2, 0.5, 0.8)  # shares of a series that are told, the nearest that were measured


class Labels(Protocol):
    """What is told of the data: a line for each finding, and the card, which has a name."""

    @property
    def findings(self) -> list[str]: ...

    @property
    def card(self) -> Any: ...


def class_scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """The model first, then its rivals, then the floors; a dash for what a row does not have."""
    header = ["", "accuracy", "balanced", "macro-F1", "log loss", "ECE"]
    body = []
    places = {kind: k for k, kind in enumerate(ORDER)}
    for row in sorted(rows, key=lambda row: places.get(row["kind"], len(places))):
        name = f"{row['name']} ◀" if row["kind"] in ("model", "ensemble") else row["name"]
        body.append([name, percent(row["accuracy"]), percent(row["balanced_accuracy"]), _places(row["macro_f1"]),
                     _places(row.get("log_loss")), percent(row.get("ece"))])  # fmt: skip
    return table(header, body)


def class_confusion(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Which class was taken for which: all counts of up to SMALL classes, else the pairs that were confused most."""
    if len(classes) <= SMALL:
        body = [[classes[k], *(f"{n:,}" if n else "·" for n in row)] for k, row in enumerate(confusion)]
        return table(["class, taken for", *map(_short, classes)], body)
    pairs = sorted(((-n, a, b) for a, row in enumerate(confusion) for b, n in enumerate(row) if n and a != b))
    if not pairs:
        return "no class was taken for another"
    body = [[classes[a], classes[b], f"{-n:,}", percent(-n / max(sum(confusion[a]), 1))] for n, a, b in pairs[:WORST]]
    made = table(["class", "taken for", "series", "of the class"], body)
    return f"{made}\n{len(pairs) - WORST:,} more pairs of {len(classes)} classes" if len(pairs) > WORST else made


def class_opening(config: Mapping[str, Any], data: Labels, parameters: int, run: Run) -> str:
    """What is about to happen."""
    facts = "\n".join(f"  {line}" for line in data.findings)
    model, head = (config[group]["_target_"].rpartition(".")[2].lower() for group in ("model", "head"))
    return (
        f"{data.card.name}\n{facts}\n{model}\n  {parameters:,} parameters, head {head}, seed {config['seed']}\n"
        f"  run {short(run.path)}"
    )


def class_closing(metrics: Mapping[str, Any], run: Run, config: Mapping[str, Any]) -> str:
    """What came of it, and what to do next."""
    of = "by the model that was fitted again on train and validation" if metrics.get("refit") else (
        "with the weights of the best validation")  # fmt: skip
    parts = [
        "",
        f"{metrics['series']['test']:,} test series of {len(metrics['classes'])} classes, each scored once {of}:",
        "",
        class_scores(metrics["rows"]),
        "",
        class_confusion(metrics["classes"], metrics["confusion"]),
        "",
        *class_early(metrics.get("early") or []),
        *_cooled(metrics.get("temperature")),
        f"report    {short(run.path / 'report.html')}",
        "classify  forecast predict run=latest input=FILE output=classes.csv",
        *(["compare   forecast ui"] if config["track"].get("uri") else []),
        f"took      {metrics['seconds']['total']:.0f} s",
    ]
    return "\n".join(parts)


def class_early(early: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line: the accuracy when only a part of each series has been seen."""
    known = [row for row in early if row.get("accuracy") is not None]
    if len(known) < 2:
        return []
    kept = {}
    for want in EARLY:
        off = [abs(row["fraction"] - want) for row in known]
        row = known[off.index(min(off))]
        kept[row["fraction"]] = row["accuracy"]
    said = ", ".join(f"{percent(value)} with {100 * share:.0f} %" for share, value in sorted(kept.items()))
    return [f"early: accuracy {said} of a series seen", ""]


def _cooled(temperature: float | None) -> list[str]:
    if temperature is None:
        return []
    return [f"probabilities are at the temperature {number(temperature)}, fitted on validation", ""]


def _places(value: float | None) -> str:
    """Differences matter, so all have as many."""
    return "–" if value is None else f"{value:.3f}"


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
