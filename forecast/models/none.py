"""The control row of every table: no mixing at all. What another encoder is worth is its difference to this one."""

from torch import Tensor

from forecast.models.base import State, StreamingEncoder


class Identity(StreamingEncoder):
    """(B, L, D) -> (B, L, D), untouched; nothing to remember."""

    def __init__(self, *, d_model: int) -> None:
        super().__init__(d_model)

    def start(self, batch: int, *, device: object = None, dtype: object = None) -> State:
        return ()

    def scan(
        self, state: State, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[State, Tensor]:
        return state, x
