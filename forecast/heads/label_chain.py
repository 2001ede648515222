"""embed ∘ encoder ∘ head for labelled series as one module: what is trained, saved, served. Knows nothing of Lightning.

`scan` says after each step what `forward` says of the series that ends there. A token that is not whole at that step is
forecast from and not remembered: the state of the encoder and of the head is that of the whole ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.heads.flat_label import FlatLabel
from forecast.heads.pool import Pool
from forecast.heads.stream import kept
from forecast.models.base import Encoder, State, StreamingEncoder, leaves, rebuilt
from forecast.models.linear import Linear
from forecast.models.none import Identity
from forecast.models.series_embed import SeriesTokens
from forecast.types import LabelBatch, LabelSpec


class LabelState(NamedTuple):
    """What a series leaves to its next step."""

    embed: State
    encoder: State
    head: State


class LabelChain(nn.Module):
    """LabelBatch -> logits (B, K). Padding, what stands under the mask and the other rows change nothing.

    skip: the head sees tokens + encoder(tokens), for encoders that are no such sum by themselves; one that hands tokens
    on untouched is left as it is. ValueError for an encoder that does not give one token for each.
    """

    def __init__(
        self, *, embed: SeriesTokens, encoder: Encoder, head: Pool | FlatLabel, spec: LabelSpec, skip: bool = False
    ) -> None:
        super().__init__()
        tokens = embed.length(max(spec.longest, 2 * embed.stride))
        if encoder.out_len(tokens) != tokens:
            raise ValueError(
                f"{type(encoder).__name__} makes {encoder.out_len(tokens)} tokens of {tokens}; a class needs one for "
                "each: set task.aligned=true, or model.decompose=0 with model=linear"
            )
        self.embed, self.encoder, self.head, self.spec = embed, encoder, head, spec
        self.skip = skip and not isinstance(encoder, Identity | Linear)

    def forward(self, batch: LabelBatch) -> Tensor:
        values, length = batch.values.to(self.kind), batch.values.shape[1]
        steps = torch.arange(length, device=values.device) < batch.length[:, None]
        if bool((batch.length == length).all()):
            tokens = self.embed(values, batch.mask)
            return self.head(self._past(tokens, self.encoder(tokens)))
        return self.padded(values, batch.mask, steps)

    def padded(self, values: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
        """`forward` of series that may be padded: values and mask (B, L, C), steps (B, L) True where one is."""
        tokens, seen = self.embed(values, mask, steps), self.embed.token_mask(steps)
        # what is causal does not see the padding behind it, and without a mask it has less to do
        return self.head(self._past(tokens, self.encoder(tokens, None if self.encoder.causal else seen)), seen)

    def _past(self, tokens: Tensor, memory: Tensor) -> Tensor:
        return tokens + memory if self.skip else memory

    @property
    def kind(self) -> torch.dtype:
        return self.head.out.weight.dtype

    @property
    def streams(self) -> bool:
        return isinstance(self.encoder, StreamingEncoder) and self.encoder.causal and self.head.streams

    def start(self, batch: int, *, device: torch.device | str | None = None) -> LabelState:
        """The state of B series before their first step."""
        assert isinstance(self.encoder, StreamingEncoder)
        return LabelState(
            self.embed.start(batch, device=device, dtype=self.kind),
            self.encoder.start(batch, device=device, dtype=self.kind),
            self.head.start(batch, device=device),
        )

    def scan(
        self, state: LabelState, values: Tensor, mask: Tensor | None = None, steps: Tensor | None = None
    ) -> tuple[LabelState, Tensor]:
        """values and mask (B, l, C), any l -> the state after them, and the logits (B, l, K) after each, in evaluation.

        A step (B, l) that is False did not happen: it changes nothing, and its logits are 0.
        """
        length, order, count = values.shape[1], None, None
        if steps is not None:
            count = steps.sum(1)
            if length > 1:  # what happened moves to the front
                order = steps.to(torch.int8).argsort(stable=True, dim=1, descending=True)[..., None]
                values = values.gather(1, order.expand_as(values))
                mask = None if mask is None else mask.gather(1, order.expand_as(mask))
        embed, tokens, whole = self.embed.scan(state.embed, values.to(self.kind), mask, count)
        encoder, memory = self._encode(state, tokens, whole)
        head, logits = self.head.scan(state.head, self._past(tokens, memory), whole)
        if steps is not None:
            if length > 1:
                index = (steps.cumsum(1) - 1).clamp(min=0)[..., None]
                logits = logits.gather(1, index.expand_as(logits))
            logits = logits.masked_fill(~steps[..., None], 0.0)
        return LabelState(embed, encoder, head), logits

    def _encode(self, state: LabelState, tokens: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        """tokens and memory (B, l, D); the state goes on by the whole ones."""
        encoder, length, stride = self.encoder, tokens.shape[1], self.embed.stride
        assert isinstance(encoder, StreamingEncoder)
        if whole is None or (stride == 1 and length > 1):
            return encoder.scan(state.encoder, tokens, whole)
        if length >= 2 * stride:
            return self._by_tokens(state.encoder, tokens, whole, self.embed.phase(state.embed))
        now, made = state.encoder, [tokens[:, :0]]
        for t in range(length):
            after, memory = encoder.scan(now, tokens[:, t : t + 1])
            now = kept(whole[:, t], after, now)
            made.append(memory)
        return now, torch.cat(made, 1)

    def _by_tokens(self, now: State, tokens: Tensor, whole: Tensor, phase: Tensor) -> tuple[State, Tensor]:
        """One turn for each token instead of each step: all its steps go on from the same state, side by side."""
        assert isinstance(self.encoder, StreamingEncoder)
        (rows, length, width), stride = tokens.shape, self.embed.stride
        turns, steps = (length + stride - 2) // stride + 1, torch.arange(length, device=tokens.device)
        ends = torch.arange(1, turns + 1, device=tokens.device) * stride - 1 - phase[:, None]  # the step of each
        full = whole.gather(1, ends.clamp(max=length - 1)) & (ends < length)
        index = torch.arange(turns * stride, device=tokens.device) - phase[:, None]
        aligned = tokens.gather(1, index.clamp(0, length - 1)[..., None].expand(-1, -1, width))
        made = []
        for turn, some in enumerate(aligned.split(stride, 1)):
            wide = rebuilt(now, iter([leaf.repeat_interleave(stride, 0) for leaf in leaves(now)]))
            after, memory = self.encoder.scan(wide, some.reshape(rows * stride, 1, width))
            ended = rebuilt(after, iter([leaf[stride - 1 :: stride] for leaf in leaves(after)]))
            now = kept(full[:, turn], ended, now)
            made.append(memory.view(rows, stride, width))
        at = (phase[:, None] + steps)[..., None].expand(-1, -1, width)
        return now, torch.cat(made, 1).gather(1, at)
