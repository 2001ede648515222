"""Kernels run under Triton's interpreter on a CPU (small grids), with `-m gpu` on a card (real sizes, all dtypes)."""

import pytest
import torch

GPU = torch.cuda.is_available()


@pytest.fixture
def device() -> str:
    return "cuda" if GPU else "cpu"


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN (integers: nonsense): a cell that a kernel forgets to write cannot pass for a zero."""
    for where, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        plain = getattr(where, name)

        def poisoned(*args, plain=plain, **kwargs):
            out = plain(*args, **kwargs)
            if out.is_floating_point():
                return out.fill_(torch.nan)
            return out.fill_(True if out.dtype == torch.bool else 99)

        monkeypatch.setattr(where, name, poisoned)
