"""norm ∘ embed ∘ encoder ∘ head ∘ output as one module: what is trained, saved, served. Knows nothing of Lightning."""

from torch import Tensor, nn
from torch.nn import functional as F

from forecast.heads.effect import Effect
from forecast.heads.output import Output, Point
from forecast.models.base import Encoder
from forecast.models.covariates import CovariateTokens
from forecast.models.embed import Embedding
from forecast.models.normalise import NoNorm, Statistics
from forecast.types import Context, SeriesBatch


class Chain(nn.Module):
    """SeriesBatch -> forecast in scaled units, (B, H, T), or (B, H, T, P) where the output has P numbers.

    `masked` says whether the data may have gaps. It is a fact of the data set and not looked up per batch, so that
    complete data never pays for masks and the graph never depends on values. `covariates` adds to the tokens what is
    known beside the channels, `effect` to the forecast; both are None where nothing is.
    """

    def __init__(
        self, *, norm: NoNorm, embed: Embedding, encoder: Encoder, head: nn.Module, masked: bool,
        output: Output | None = None, covariates: CovariateTokens | None = None, effect: Effect | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.embed, self.encoder, self.head = norm, embed, encoder, head
        self.masked, self.output = masked, output or Point()
        self.covariates, self.effect = covariates, effect

    def forward(self, batch: SeriesBatch) -> Tensor:
        past, mask = batch.past, None
        if self.masked:
            mask = batch.past_mask
            past = past.masked_fill(~mask, 0.0)  # whatever stands there
        past, statistics = self.norm(past, mask)
        steps = None if mask is None else self.embed.token_mask(mask)
        tokens = self.embed(past, mask, batch.past_clock)
        if self.covariates is not None:
            tokens = self.covariates(tokens, batch, self.embed)
        memory = self.encoder(tokens, steps)
        memory_mask = None if steps is None else self.encoder.out_mask(steps)
        context = Context(
            past, mask, batch.past_clock, batch.future_clock, memory_mask, batch.known_past, batch.known_future
        )
        raw = self.head(memory, context)
        if self.effect is not None:
            raw = moved(raw, self.effect(batch), statistics)
        return self.output(raw, statistics)

    def point(self, batch: SeriesBatch) -> Tensor:
        """The one number (B, H, T) of each forecast."""
        return self.output.point(self(batch))


def moved(raw: Tensor, effect: Tensor, statistics: Statistics | None) -> Tensor:
    """What a head gives, (B, H, T) or (B, H, T, P), its place moved by an effect (B, 1 or H, T) in scaled units."""
    if statistics is not None:
        effect = effect / statistics.std[..., : effect.shape[2]]
    return raw + (effect if raw.ndim == 3 else F.pad(effect[..., None], (0, raw.shape[3] - 1)))
