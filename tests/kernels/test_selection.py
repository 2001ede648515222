"""The kernels that choose queries, against their references."""

import pytest
import torch

from forecast.kernels import selection as kernels
from forecast.ops import selection as ops
from forecast.ops.selection import sample_keys


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check_measure(device, b, h, l_q, l_k, e, *, divisor, causal, masked, dtype=torch.float32, strided=False):
    q, k = random(b, l_q, h, e).transpose(1, 2), random(b, l_k, h, e, seed=1).transpose(1, 2)
    if not strided:
        q, k = q.contiguous(), k.contiguous()
    mask = random(b, l_k, seed=2) > -0.5 if masked else None
    sample = sample_keys(l_q, l_k, min(7, l_k), seed=0, layer=0)
    q, k = q.to(device, dtype), k.to(device, dtype)
    mask = None if mask is None else mask.to(device)
    found = kernels.measure(q, k, sample.to(device), mask, divisor, causal)
    again = kernels.measure(q, k, sample.to(device), mask, divisor, causal)
    expected = ops.measure(q.double(), k.double(), sample.to(device), mask, divisor, causal)
    assert found.equal(again)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("causal", "masked", "divisor"),
    [
        (False, False, "keys"),
        (False, True, "keys"),
        (True, False, "keys"),
        (True, True, "keys"),
        (True, True, "sample"),
    ],
)
@pytest.mark.parametrize(("l_q", "l_k", "e"), [(1, 1, 1), (33, 33, 20)])
def test_measure(device, l_q, l_k, e, causal, masked, divisor):
    check_measure(device, 2, 2, l_q, l_k, e, divisor=divisor, causal=causal, masked=masked, strided=l_q > 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_measure_in_half_precision(device, dtype):
    check_measure(device, 1, 2, 17, 40, 16, divisor="keys", causal=False, masked=False, dtype=dtype, strided=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("e", [16, 40, 64, 128])
def test_measure_at_real_sizes(device, e, dtype):
    for masked, causal in ((False, False), (True, True)):
        check_measure(
            device, 4, 8, 1000, 1000, e, divisor="keys", causal=causal, masked=masked, dtype=dtype, strided=True
        )


def measures(kind: str, rows: int, length: int) -> torch.Tensor:
    if kind == "ties":
        return torch.randint(4, (rows, 2, length), generator=torch.Generator().manual_seed(0)).float() - 2
    x = random(rows, 2, length) * 100
    if kind == "odd":
        x[0, 0, ::5], x[0, 1, ::7], x[..., 1::9], x[..., 2::11] = torch.nan, torch.inf, -torch.inf, -0.0
    return x


@pytest.mark.parametrize("kind", ["random", "ties", "odd"])
@pytest.mark.parametrize(("length", "u"), [(1, 1), (2, 1), (20, 20), (63, 9), (100, 25)])
def test_top(device, length, u, kind):
    x = measures(kind, 2, length).to(device)
    assert kernels.top(x, u).equal(ops.top(x, u))


@pytest.mark.parametrize("kind", ["random", "ties", "odd"])
@pytest.mark.parametrize(("length", "u"), [(1, 1), (2, 1), (63, 9), (100, 25), (150, 17)])
def test_prefix_top(device, length, u, kind):
    x = measures(kind, 1, length).to(device)
    assert kernels.prefix_top(x, u).equal(ops.prefix_top(x, u))


def test_a_row_longer_than_a_block(device, monkeypatch):
    monkeypatch.setattr(kernels.triton, "next_power_of_2", lambda n: min(32, 1 << (n - 1).bit_length()))
    x = measures("ties", 1, 100).to(device)
    assert kernels.top(x, 30).equal(ops.top(x, 30))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["random", "ties", "odd"])
@pytest.mark.parametrize("length", [96, 4097, 20_000, 131_072])
def test_choices_at_real_sizes(device, length, kind):
    x = measures(kind, 32, length).to(device)
    u = ops.budget(length, 5)
    assert kernels.top(x, u).equal(ops.top(x, u))
    assert kernels.prefix_top(x, u).equal(ops.prefix_top(x, u))
