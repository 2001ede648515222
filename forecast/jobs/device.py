"""A predictor whose chain computes on another device than all around it: the batches of an actor with a GPU."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from forecast.errors import RunError
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.predictor import Predictor


class Elsewhere(nn.Module):
    """A chain on `device` for callers on the CPU: a batch goes there, its result comes back. What follows from one,
    such as quantiles, is computed here by `output`; all else that is asked for is the chain's."""

    def __init__(self, chain: nn.Module, device: str | torch.device) -> None:
        super().__init__()
        self.output = copy.deepcopy(getattr(chain, "output", None))
        self.chain, self.device = chain.to(device), torch.device(device)

    def forward(self, batch: Any) -> Tensor:
        there = [part.to(self.device) if isinstance(part, Tensor) else part for part in batch]
        made: Tensor = self.chain(type(batch)(*there))
        return made.cpu()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("chain"), name)

    def point(self, batch: Any) -> Tensor:
        """The one number (B, H, T) of each forecast."""
        assert self.output is not None
        found: Tensor = self.output.point(self(batch))
        return found


def on_card(predictor: Any) -> Any:
    """The predictor with its chain on the GPU that Ray has given to this process. Of events it stays on the CPU: theirs
    is a walk of small steps. RunError where torch sees no GPU."""
    if not torch.cuda.is_available():
        raise RunError("torch sees no GPU in an actor that has one", "expected CUDA", "leave engine.gpus out")
    return moved(predictor, "cuda")


def moved(predictor: Any, device: str) -> Any:
    """The same predictor, its chain on `device`."""
    if isinstance(predictor, Predictor | ClassPredictor):
        wrapped: Any = Elsewhere(predictor.chain, device)
        predictor.chain = wrapped
    return predictor
