"""norm ∘ embed ∘ encoder ∘ head ∘ output as one module: what is trained, saved and served. Knows nothing of Lightning."""

from torch import Tensor, nn

from forecast.heads.output import Output, Point
from forecast.models.base import Encoder
from forecast.models.embed import Embedding
from forecast.models.normalise import NoNorm
from forecast.types import Context, SeriesBatch


class Chain(nn.Module):
    """SeriesBatch -> forecast in scaled units, (B, H, T), or (B, H, T, P) where the output has P numbers.

    `masked` says whether the data may have gaps. It is a fact of the data set and not looked up per batch, so that
    complete data never pays for masks and the graph never depends on values.
    """

    def __init__(
        self, *, norm: NoNorm, embed: Embedding, encoder: Encoder, head: nn.Module, masked: bool,
        output: Output | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.embed, self.encoder, self.head = norm, embed, encoder, head
        self.masked = masked
        self.output = output or Point()

    def forward(self, batch: SeriesBatch) -> Tensor:
        past, mask = batch.past, None
        if self.masked:
            mask = batch.past_mask
            past = past.masked_fill(~mask, 0.0)  # whatever stands there
        past, statistics = self.norm(past, mask)
        steps = None if mask is None else self.embed.token_mask(mask)
        memory = self.encoder(self.embed(past, mask, batch.past_clock), steps)
        memory_mask = None if steps is None else self.encoder.out_mask(steps)
        context = Context(past, mask, batch.past_clock, batch.future_clock, memory_mask)
        return self.output(self.head(memory, context), statistics)

    def point(self, batch: SeriesBatch) -> Tensor:
        """The one number (B, H, T) of each forecast."""
        return self.output.point(self(batch))
