"""A step as a graph gives what torch gives, for any number of series, its state outside. An export takes seconds, so
each encoder is exported once, small, with another output, head and normalisation; what a mask adds is outside of it."""

import io
import re
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from forecast.heads import Chain, Direct, NegativeBinomial, Normal, Output, Point, Quantiles, StudentT, ZeroInflated
from forecast.heads.step import Step
from forecast.heads.stream import Stream
from forecast.inference import graph
from forecast.models import LSTM, TCNCA, Aaren, Identity, NoNorm, RollingNorm, Transformer, ValueEmbedding
from tests.problems import batch, spec

STEPS, CHANNELS, TARGETS = 26, 3, 2
S = spec(CHANNELS, targets=TARGETS, context=STEPS)


class Made(NamedTuple):
    encoder: str
    masked: bool
    output: Output
    tokens: int
    rolling: bool
    position: bool = False


def tcnca(**settings) -> TCNCA:
    return TCNCA(d_model=8, d_key=4, d_ff=8, layers=1, chunk=5, kernel=3, factor=3, depth=2, **settings)


ENCODERS = {
    "aaren": lambda: Aaren(d_model=8, heads=2, d_ff=8, layers=1, learn_decay=True),
    "aaren-window": lambda: Aaren(d_model=8, heads=2, d_ff=8, layers=1, window=5),
    "lstm": lambda: LSTM(d_model=8, layers=2, residual=True),
    "tcnca": tcnca,
    "tcnca-dense": lambda: tcnca(norm="layer", depthwise=False, attention="laplace", simple=True),
    "tcnca-ema": lambda: tcnca(mixer="ema", states=3),
    "transformer": lambda: Transformer(d_model=8, heads=2, d_ff=8, layers=1, causal=True, window=5, sinks=2),
    "none": lambda: Identity(d_model=8),
}
CASES = [
    Made("aaren", True, Quantiles((0.1, 0.5, 0.9)), 48, True),
    Made("aaren-window", False, StudentT(), 1, False, position=True),
    Made("lstm", True, Point(), 1, True),
    Made("tcnca", True, Normal(), 3, True),
    Made("tcnca-dense", False, Point(), 48, True),
    Made("tcnca-ema", True, Point(), 1, False),
    Made("transformer", False, Point(), 1, True),
    Made("none", True, NegativeBinomial(), 48, False),
    Made("none", False, ZeroInflated(), 1, True),
]


def step_of(case: Made) -> Step:
    torch.manual_seed(0)
    output = case.output
    head = Direct(spec=S, d_memory=8, length=STEPS, tokens=case.tokens, width=output.width)
    embed = ValueEmbedding(spec=S, d_model=8, causal=True, position=case.position)
    norm = RollingNorm(9.0) if case.rolling else NoNorm()
    chain = Chain(
        norm=norm, embed=embed, encoder=ENCODERS[case.encoder](), head=head, masked=case.masked, output=output
    )
    for part in head.parameters():
        torch.nn.init.normal_(part, std=0.2)  # a new head forecasts next to nothing
    return Step(Stream(chain, CHANNELS), S).eval()


def arrays(rows):
    return [row.numpy().copy() for row in rows]


def followed(step: Step, run, size: int, *, masked: bool) -> None:
    """The steps of a window, each by torch and by the graph from its own state before; the last is the window's."""
    x = batch(S, size, seed=size, dtype=torch.float32, missing=0.3 if masked else 0.0)
    ours = tuple(row.expand(size, -1).clone() for row in step.start())
    theirs = arrays(ours)
    with torch.inference_mode():
        for t in range(STEPS):
            now = x.past[:, t], x.past_mask[:, t], x.past_clock[:, t]
            made, *ours = step(*now, *ours)
            found, *theirs = run([*arrays(now), *theirs])
            for a, b in zip([made, *ours], [found, *theirs], strict=True):
                assert b.dtype == a.numpy().dtype
                np.testing.assert_allclose(b, a.numpy(), rtol=1e-5, atol=1e-5)
        window = step.stream.chain(x)
    np.testing.assert_allclose(found, window.numpy(), rtol=1e-4, atol=1e-4)


def shown(cases):
    """One case of each encoder in the suite, the others are long."""
    first = {case.encoder.partition("-")[0]: case for case in reversed(cases)}
    marks = [[] if case in first.values() else [pytest.mark.long] for case in cases]
    return [pytest.param(case, marks=mark) for case, mark in zip(cases, marks, strict=True)]


@pytest.mark.parametrize("case", shown(CASES), ids=lambda case: f"{case.encoder}-{type(case.output).__name__}")
def test_onnx_gives_what_torch_gives(tmp_path, case):
    step = step_of(case)
    path = tmp_path / "step.onnx"
    path.write_bytes(graph.written(step, "onnx"))
    for size in (1, 3, 17):
        followed(step, graph.opened(path, "onnx"), size, masked=case.masked)
    session = onnxruntime.InferenceSession(path)
    inputs, outputs = graph.names(step)
    assert [part.name for part in session.get_inputs()] == inputs
    assert [part.name for part in session.get_outputs()] == outputs
    shape = (S.horizon, TARGETS) if case.output.width == 1 else (S.horizon, TARGETS, case.output.width)
    assert session.get_outputs()[0].shape == ["series", *shape]
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}  # operators of the standard alone
    assert not re.search(rb"forecast/|\.py", path.read_bytes())  # nothing of the machine that made it


def test_a_program_of_torch_comes_back(tmp_path):
    case = CASES[3]  # tcnca, whose convolution is an operator of ours but for a single step
    step = step_of(case)
    path = tmp_path / "step.pt2"
    path.write_bytes(graph.written(step, "torch"))
    run = graph.opened(path, "torch")
    for size in (1, 3, 17):
        followed(step, run, size, masked=case.masked)
    assert graph.difference(step, run) < 1e-6
    program = torch.export.load(io.BytesIO(path.read_bytes()))
    assert not any("forecast" in str(node.target) for node in program.graph.nodes)


def test_a_difference_is_seen(tmp_path):
    """In forecasts and in states, of any sign, and where one side is no number."""
    step = step_of(CASES[-1])

    def run(change):
        def call(inputs):
            with torch.inference_mode():
                found = arrays(step(*(torch.from_numpy(part) for part in inputs)))
            change(found)
            return found

        return call

    def moved(at, by):
        def change(found):
            found[at][0] += by

        return change

    assert graph.difference(step, run(lambda found: None)) == 0
    assert graph.difference(step, run(moved(0, 0.01)), steps=1) > 1e-3
    assert graph.difference(step, run(moved(1, -0.01)), steps=1) > 1e-3
    assert graph.difference(step, run(moved(0, np.nan)), steps=1) == np.inf
