"""The cheaper dropout is dropout: its rate, its expectation, its gradient, and a function of the seed."""

import pytest
import torch

from forecast.models.dropout import Dropout
from forecast.ops.dropout import LANES, dropout, dropped


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rate_and_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(500, 401, dtype=dtype), p)
    zero = y == 0
    assert abs(float(zero.double().mean()) - p) < 4 * (p * (1 - p) / y.numel()) ** 0.5 + 1 / LANES
    torch.testing.assert_close(y[~zero], torch.full_like(y[~zero], 1 / (1 - round(p * LANES) / LANES)))


def test_every_lane_of_a_draw_has_the_rate() -> None:
    """Each draw decides four elements; none of them may be biased (64 bits are asked for, not 63)."""
    torch.manual_seed(1)
    gone = dropped(torch.Size([400_000]), LANES // 4).view(-1, 4).double().mean(0)
    assert (gone - 0.25).abs().max() < 0.006


def test_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    gone = dropped(torch.Size([400_000]), LANES // 2).double() - 0.5
    for lag in (1, 2, 3, 4, 5, 8):
        assert (gone[lag:] * gone[:-lag]).mean().abs() < 0.25 * 4 / 400_000**0.5


def test_gradient_passes_where_the_value_passed() -> None:
    torch.manual_seed(3)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())


def test_the_seed_decides_and_nothing_else() -> None:
    x = torch.randn(3, 11)
    torch.manual_seed(4)
    first = dropout(x, 0.3)
    torch.manual_seed(4)
    assert torch.equal(first, dropout(x, 0.3))
    assert not torch.equal(first, dropout(x, 0.3))


def test_nothing_happens_in_evaluation_and_at_the_ends() -> None:
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert not dropout(x, 1.0).any()


def test_a_transposed_input() -> None:
    torch.manual_seed(5)
    x = torch.randn(6, 8).T.requires_grad_()
    y = dropout(x, 0.5)
    assert torch.equal(y != 0, y == 2 * x)
