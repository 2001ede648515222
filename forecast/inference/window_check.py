"""Windows that an exported graph (graph.py) is compared over: those of the run's test part, or random ones where its
data are not here; what torch gives for them, by the predictor's own way and not by the graph's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from forecast import build
from forecast.artifacts import Run
from forecast.data.batch import take
from forecast.errors import DataError
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.graph import Arrays, apart
from forecast.inference.predictor import Predictor
from forecast.inference.timed import places
from forecast.inference.whole import Whole
from forecast.types import CLOCK_SIZES, LabelBatch, SeriesBatch

BATCHES: Final = (1, 3, 32)  # at once
Found = list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]  # inputs, and what torch makes of them


def off(found: Found, run: Callable[[Arrays], list[Any]]) -> float:
    """By how much a file differs from torch at most."""
    worst = 0.0
    for inputs, outputs in found:
        made = run([part.numpy() for part in inputs])
        worst = max(worst, *(apart(a.numpy(), b) for a, b in zip(outputs, made, strict=True)))
    return worst


@torch.inference_mode()
def windows(predictor: Predictor, whole: Whole, run: Run, config: Mapping[str, Any]) -> tuple[Found, str]:
    """Batches of windows, and what they are in words."""
    found: Found = []
    what = f"{sum(BATCHES)} windows of test"
    batches = _of_test(predictor, run, config)
    if batches is None:
        batches = [_random(whole, size) for size in BATCHES]
        what = f"{sum(BATCHES)} random windows (the run's data are not here)"
    for batch, place in batches:
        made = predictor.chain(batch)
        output, levels = predictor.chain.output, torch.tensor(whole.levels)
        expected = [output.point(made)]
        if whole.levels:
            scores = predictor.calibration.scores(levels, place) if predictor.calibration else output.own(made, levels)
            assert scores is not None
            expected.append(output.value(made, scores))
        elif len(whole.outputs) > 1:
            expected.append(made)
        found.append((whole.of(batch, place), tuple(expected)))
    return found, what


def _of_test(predictor: Predictor, run: Run, config: Mapping[str, Any]) -> "list[tuple[SeriesBatch, Tensor]] | None":
    """Windows of the test part; None where the data are not those of the run, or not here."""
    try:
        data = build.data(dict(config)).remember(predictor.recipe.holidays).prepare()
    except DataError:
        return None
    if data.source["sha256"] != run.read("data.json")["source"]["sha256"]:
        return None
    every, spec = data.windows("test"), predictor.recipe.spec
    made = []
    for numbers in _chosen(len(every)):
        batch = take(data.gather, every, numbers)
        made.append((batch, places(data.series, batch.origin.numpy(), spec.horizon, spec.season)[1]))
    return made


def _chosen(count: int) -> list[np.ndarray]:
    """Numbers of windows, as many as there are BATCHES of them, all along the part."""
    return [np.unique(np.linspace(0, count - 1, size).astype(np.int64)) for size in BATCHES if count]


def _random(whole: Whole, size: int) -> tuple[SeriesBatch, Tensor]:
    """Normal values, any calendar, any of the known codes."""
    draw, spec = torch.Generator().manual_seed(size), whole.spec
    shapes = dict(zip(whole.inputs, (part.shape for part in whole.example(size)), strict=True))
    fields = torch.tensor([CLOCK_SIZES[field] for field in spec.clock])

    def clock(name: str) -> Tensor:
        return (torch.rand(shapes[name], generator=draw) * fields).floor()

    def codes(name: str, sizes: Sequence[int]) -> Tensor | None:
        if name not in shapes:
            return None
        made = torch.randn(shapes[name], generator=draw)
        for place, many in enumerate(sizes):
            if many:
                made[..., place] = torch.randint(many, made.shape[:-1], generator=draw).float()
        return made

    moving, ahead = len(spec.known) + len(spec.behind), len(spec.known)
    past = torch.randn(shapes["past"], generator=draw)
    seen = torch.rand(shapes["seen"], generator=draw) < (0.9 if whole.chain.masked else 2)
    place = torch.arange(spec.horizon).expand(size, -1) % spec.season
    none = past[:, :0], seen[:, :0]
    batch = SeriesBatch(
        past * seen, seen, clock("past_clock"), *none, clock("future_clock"), place[:, 0], place[:, 0],
        codes("known_past", spec.sizes[:moving]), codes("known_future", spec.sizes[:ahead]),
        codes("static", spec.sizes[moving:]),
    )  # fmt: skip
    return batch, place


@torch.inference_mode()
def class_windows(predictor: ClassPredictor, run: Run, config: Mapping[str, Any]) -> tuple[Found, str]:
    """Random series of all lengths; each is told by itself, without padding."""
    spec, chain = predictor.recipe.spec, predictor.chain
    draw = torch.Generator().manual_seed(0)
    found: Found = []
    for size in BATCHES:
        length = torch.randint(spec.shortest, spec.longest + 1, (size,), generator=draw)
        steps = torch.arange(spec.longest) < length[:, None]
        shape = size, spec.longest, len(spec.channels)
        seen = steps[..., None] & (torch.rand(shape, generator=draw) < (0.9 if spec.missing else 2))
        values = torch.randn(shape, generator=draw) * seen
        chance = []
        for row in range(size):
            own = slice(row, row + 1), slice(0, int(length[row]))
            alone = LabelBatch(values[own], seen[own], length[row : row + 1], length[:1] * 0, length[:1] * 0)
            chance.append((chain(alone) / predictor.temperature).softmax(-1))
        found.append(((values, seen, length), (torch.cat(chance),)))
    return found, f"{sum(BATCHES)} random series of {spec.shortest} to {spec.longest} steps"
