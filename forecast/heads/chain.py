"""norm ∘ embed ∘ encoder ∘ head as one module: what is trained, saved and served. Knows nothing of Lightning."""

from torch import Tensor, nn

from forecast.heads.effect import Effect
from forecast.models.base import Encoder
from forecast.models.covariates import CovariateTokens
from forecast.models.embed import Embedding
from forecast.models.normalise import NoNorm
from forecast.types import Context, SeriesBatch


class Chain(nn.Module):
    """SeriesBatch -> forecast (B, H, T) in scaled units.

    `masked` says whether the data may have gaps. It is a fact of the data set and not looked up per batch, so that
    complete data never pays for masks and the graph never depends on values. `covariates` adds to the tokens what is
    known beside the channels, `effect` to the forecast; both are None where nothing is.
    """

    def __init__(
        self, *, norm: NoNorm, embed: Embedding, encoder: Encoder, head: nn.Module, masked: bool,
        covariates: CovariateTokens | None = None, effect: Effect | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.embed, self.encoder, self.head = norm, embed, encoder, head
        self.masked, self.covariates, self.effect = masked, covariates, effect

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
        forecast = self.norm.undo(self.head(memory, context), statistics)
        return forecast if self.effect is None else forecast + self.effect(batch)
