"""What heads share: a plain linear forecast of the window, which the rest of the head then corrects (the autoregressive
highway of LSTNet, Lai et al. 2018, arXiv 1703.07015, §3.6)."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.types import Context, Spec

Residual = Literal["none", "linear"]


class Head(nn.Module):
    """memory (B, L', D) and context -> (B, H, T), or (B, H, T, P) where the output asks for `width` P numbers.

    residual="linear": what the head computes is added to one linear map over time, (L) -> (H), of the window as the
    encoder saw it, shared by all channels. It starts as the seasonal-naive forecast, or where `start_from` says; the
    head's own last map starts at 0, so that training starts at the plain forecast.
    """

    def __init__(self, spec: Spec, residual: str, width: int = 1) -> None:
        super().__init__()
        self.residual, self.targets, self.width = residual, spec.targets, width
        if residual == "linear":
            self.highway = nn.Parameter(seasonal_map(spec.context, spec.horizon, spec.season))

    def start_from(self, matrix: Tensor) -> None:
        """Start the linear residual at `matrix` (L, H), e.g. a least-squares fit; other residuals have no start."""
        if self.residual == "linear":
            self.highway.data.copy_(matrix)

    def joined(self, own: Tensor, plain: Tensor | float) -> Tensor:
        """The head's own numbers (B, H, T·P), those of a target together, and a plain forecast (B, H, T) that is added
        to the first of each, its place."""
        if self.width == 1:
            return own + plain
        own = own.unflatten(-1, (self.targets, self.width))
        return own if isinstance(plain, float) else own + F.pad(plain[..., None], (0, self.width - 1))

    def plain(self, context: Context) -> Tensor | float:
        """What is added to the head's own forecast."""
        if self.residual != "linear":
            return 0.0
        return torch.einsum("blt,lh->bht", context.past[..., : self.targets], self.highway)

    def _quiet(self, last: Iterable[nn.Parameter]) -> None:
        """Where there is a residual, the head's `last` map starts at 0."""
        if self.residual != "none":
            for parameter in last:
                nn.init.zeros_(parameter)


def seasonal_map(context: int, horizon: int, season: int) -> Tensor:
    """The (L, H) matrix that takes a window to its seasonal-naive forecast."""
    season = max(1, season) if season <= context else 1  # a window shorter than a season knows no phase
    step = torch.arange(horizon)
    matrix = torch.zeros(context, horizon)
    matrix[context - season + step % season, step] = 1.0
    return matrix
