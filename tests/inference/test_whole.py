"""The forecast of a whole window as a graph gives what torch gives, for batches of any size. An export takes seconds:
most combinations are `long`; the operators' graphs have tests of their own (tests/ops/test_plain.py)."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from forecast.heads import Chain, Direct, Effect, NegativeBinomial, Normal, Point, Quantiles, StudentT
from forecast.inference import graph
from forecast.inference.calibration import fit
from forecast.inference.whole import Whole, WholeClass
from forecast.inference.window_check import _random
from forecast.models import Aaren, CovariateTokens, InstanceNorm, ValueEmbedding
from tests.heads import test_label_chain as label_chain
from tests.problems import spec
from tests.test_contract import ENCODERS, HEADS, build

S = spec(3, targets=2)
KINDS = [*HEADS, "flat-steps", "flat-patch", "segments-steps", "segments-patch"]
CASES = [
    pytest.param("linear", "timewise", True, id="linear"),
    *(
        pytest.param(encoder, KINDS[i % 9], i % 2 == 0, id=f"{encoder}-long", marks=pytest.mark.long)
        for i, encoder in enumerate(ENCODERS)
    ),
]
LEVELS = (0.1, 0.5, 0.95)


def calibration(s):
    scores = torch.randn(200, s.horizon, s.targets, generator=torch.Generator().manual_seed(3))
    return fit(scores, torch.arange(200)[:, None].expand(-1, s.horizon) % s.season, s.season)


def expected(whole: Whole, held, batch, place):
    """By the chain and the calibration themselves."""
    made, output = whole.chain(batch), whole.chain.output
    scores = held.scores(torch.tensor(LEVELS), place) if held else output.own(made, torch.tensor(LEVELS))
    return output.point(made), output.value(made, scores)


@torch.inference_mode()
def compared(whole: Whole, held, run) -> None:
    for size in (1, 3, 17):
        batch, place = _random(whole, size)
        found = run([part.numpy() for part in whole.of(batch, place)])
        for a, b in zip(expected(whole, held, batch, place), found, strict=True):
            assert b.dtype == np.float32
            np.testing.assert_allclose(b, a.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("encoder", "head", "masked"), CASES)
def test_onnx_gives_what_torch_gives(tmp_path, encoder, head, masked):
    chain = build(encoder, head, "instance", masked=masked).float()
    whole = Whole(chain, S, calibration(S), LEVELS).eval()
    path = tmp_path / "w.onnx"
    path.write_bytes(graph.written(whole, "onnx"))
    compared(whole, calibration(S), graph.opened(path, "onnx"))
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}  # operators of the standard alone
    session = onnxruntime.InferenceSession(path)
    assert [put.name for put in session.get_outputs()] == ["point", "quantiles"]
    assert session.get_outputs()[1].shape == ["series", S.horizon, S.targets, len(LEVELS)]
    assert b"forecast/" not in path.read_bytes()


OUTPUTS = [Point(), Quantiles((0.1, 0.5, 0.9)), Normal(), StudentT()]


def chain_of(output, s=S, **parts) -> Chain:
    torch.manual_seed(0)
    head = Direct(spec=s, d_memory=8, length=s.context, tokens=2, width=output.width)
    for part in head.parameters():
        torch.nn.init.normal_(part, std=0.2)
    embed = ValueEmbedding(spec=s, d_model=8)
    encoder = Aaren(d_model=8, heads=2, d_ff=8, layers=1)
    return Chain(
        norm=InstanceNorm(), embed=embed, encoder=encoder, head=head, masked=True, output=output, **parts
    ).eval()


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("output", OUTPUTS, ids=lambda each: type(each).__name__)
@torch.inference_mode()
def test_quantiles_are_those_of_the_run(output, held):
    """In torch, no export: the score of each level is looked up once, and a search is a count."""
    cal = calibration(S) if held else None
    whole = Whole(chain_of(output), S, cal, LEVELS).eval()
    batch, place = _random(whole, 5)
    found = whole(*whole.of(batch, place))
    if not held and isinstance(output, Point | StudentT):
        assert whole.levels == () and whole.outputs == (("point",) if output.width == 1 else ("point", "forecast"))
        return
    for a, b in zip(expected(whole, cal, batch, place), found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
    assert ("place" in whole.inputs) == held


@torch.inference_mode()
def test_counts_give_their_numbers():
    whole = Whole(chain_of(NegativeBinomial()), S, calibration(S)).eval()
    batch, place = _random(whole, 3)
    point, numbers = whole(*whole.of(batch, place))
    assert whole.outputs == ("point", "forecast") and numbers.shape == (3, S.horizon, S.targets, 2)
    assert point.equal(numbers[..., 0])


@pytest.mark.parametrize("encoder", ["aaren", "informer", "transformer-both-ways"])
@torch.inference_mode()
def test_classes_are_those_of_each_series_alone(encoder):
    """Though all are padded to the longest of training."""
    chain = label_chain.build("strided", encoder, "mean")
    whole = WholeClass(chain, 2.0).eval()
    x = label_chain.batch(label_chain.LONGEST, 1, 5, 17)
    (found,) = whole(x.values, x.mask, x.length)
    for row in range(4):
        alone = (chain(label_chain.cut(x, row)) / 2.0).softmax(-1)
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-9, atol=1e-9)


def known() -> Chain:
    s = S._replace(known=("k", "holiday"), behind=("b",), static=("kind",), sizes=(0, 3, 0, 4), masks=True)
    parts = {"covariates": CovariateTokens(s, 8), "effect": Effect(s)}
    for part in (*parts["covariates"].parameters(), *parts["effect"].parameters()):
        torch.nn.init.normal_(part, std=0.2)
    return chain_of(Point(), s, **parts)


@pytest.mark.long
def test_covariates_go_in(tmp_path):
    chain = known()
    s = chain.effect.spec
    whole = Whole(chain, s, calibration(s), LEVELS).eval()
    assert whole.inputs[4:] == ("place", "known_past", "known_future", "static")
    (tmp_path / "w.onnx").write_bytes(graph.written(whole, "onnx"))
    compared(whole, calibration(s), graph.opened(tmp_path / "w.onnx", "onnx"))


@pytest.mark.long
def test_a_program_of_torch_comes_back(tmp_path):
    whole = Whole(chain_of(Quantiles((0.1, 0.5, 0.9))), S, calibration(S), LEVELS).eval()
    (tmp_path / "w.pt2").write_bytes(graph.written(whole, "torch"))
    compared(whole, calibration(S), graph.opened(tmp_path / "w.pt2", "torch"))
    program = torch.export.load(tmp_path / "w.pt2")
    assert not any("forecast" in str(node.target) for node in program.graph.nodes)
