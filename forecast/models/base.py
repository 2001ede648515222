"""The one protocol of all encoders. An encoder knows nothing of tasks, data, channels or clocks."""

from torch import Tensor, nn


class Encoder(nn.Module):
    """(B, L, D) -> (B, out_len(L), D).

    `mask` (B, L) is True where a step was observed: what stands in a masked step changes no output. `dt` (B, L) is
    the time since the step before, in steps; encoders that work on regular series ignore it.
    """

    def __init__(self, d_model: int, *, causal: bool) -> None:
        super().__init__()
        self.d_model, self.causal = d_model, causal

    def out_len(self, length: int) -> int:
        """Tokens that come out for `length` tokens in."""
        return length

    def out_mask(self, mask: Tensor) -> Tensor:
        """(B, L) -> (B, out_len(L)): which of the tokens that come out saw something observed."""
        return mask

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how it encodes")
