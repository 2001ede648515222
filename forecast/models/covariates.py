"""Covariates as tokens see them: numbers by a linear map, categories by a table, summed; of an unknown value nothing.

Shapes: known_past (B, L, K + P), known_future (B, H, K), static (B, Q), as in `SeriesBatch`; with spec.masks the last
axis of the first two is twice as long.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecast.models.embed import Embedding
from forecast.types import SeriesBatch, Spec


class Features(nn.Module):
    """(…, K) scaled numbers and codes, with masks (…, 2K) -> (…, D). `quiet`: 0 before training."""

    def __init__(self, sizes: Sequence[int], d_model: int, *, masks: bool = False, quiet: bool = True) -> None:
        super().__init__()
        self.numbers = [i for i, size in enumerate(sizes) if not size] + [
            len(sizes) + i for i in range(masks * len(sizes))
        ]
        self.categories = [i for i, size in enumerate(sizes) if size]
        self.linear = nn.Linear(len(self.numbers), d_model, bias=False) if self.numbers else None
        self.tables = nn.ModuleList(nn.Embedding(sizes[i], d_model, padding_idx=0) for i in self.categories)
        if quiet:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        parts = [] if self.linear is None else [self.linear(x[..., self.numbers])]
        parts += [table(x[..., i].long()) for i, table in zip(self.categories, self.tables, strict=True)]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def ahead(past: Tensor, spec: Spec) -> Tensor:
    """(B, L, K + P) -> (B, L, K): what is known of the future too, masks with it."""
    known, both = len(spec.known), len(spec.known) + len(spec.behind)
    if known == both:
        return past
    return past[..., [*range(known), *(both + i for i in range(known * spec.masks))]]


class CovariateTokens(nn.Module):
    """Tokens of an embedding -> the same with what the covariates of their steps and of their series add.

    A token of a patch takes the mean over its steps, one of a whole channel that over the window.
    """

    def __init__(self, spec: Spec, d_model: int) -> None:
        super().__init__()
        moving = len(spec.known) + len(spec.behind)
        self.known = Features(spec.sizes[:moving], d_model, masks=spec.masks) if moving else None
        self.static = Features(spec.sizes[moving:], d_model) if spec.static else None

    def forward(self, tokens: Tensor, batch: SeriesBatch, embed: Embedding) -> Tensor:
        if self.known is not None and batch.known_past is not None:
            tokens = tokens + embed.along(self.known(batch.known_past))
        if self.static is not None and batch.static is not None:
            each = self.static(batch.static)[:, None]
            tokens = tokens + each.repeat_interleave(tokens.shape[0] // each.shape[0], 0)
        return tokens
