"""From events to tokens: how long ago the event before was, and which mark this one has (arXiv 1909.12127, §3.2).

token_i = W [(log(τ_i + 1e-8) - b) / a, e(y_i), covariates_i, clock(t_i)] + e'(bin of τ_i)

a, b: deviation and mean of train's log gaps; the log is within ±REACH. clock(t): sin and cos of t / (e^b 4^j), j = 0,
1, …, with the time t since the first event: it tells attention, which has no order of its own, what is recent, and
stays bounded however long a stream goes on.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecast.models.base import State
from forecast.models.dropout import Dropout

LEAST = 1e-8  # added to a gap before its log
REACH = 5.0  # deviations: a gap of 0, which the first event has, is no further off than the rarest of gaps


class EventEmbedding(nn.Module):
    """Gaps (B, L) in the data's unit of time, marks (B, L) int64 and covariates (B, L, E) -> (B, L, D).

    Beside its own event a token knows the time since the first one, which is the state: any split of a sequence gives
    the same tokens. They are 0 where `mask` is False, whatever stands there. The mark M is unknown: its embedding is 0.
    With one mark there is none. labels: marks are (B, L, M) bool, the embeddings of those that are there are added.
    clock: frequencies of the time since the first event. bins: with more than 0, a gap also has the embedding of its
    bin: one of so many, as many of train's gaps in each, or that of the gap 0; their edges lie among `levels`, n quantiles of train's normalised log gaps, at (i + ½) / n, in
    rising order. Gaps that crowd at one length mean something which a line through all of them cannot tell.
    """

    causal = True

    a: Tensor
    b: Tensor
    edges: Tensor  # rising normalised log gaps, bins - 1 where all differ

    def __init__(
        self, *, marks: int, log_mean: float, log_std: float, d_model: int = 64, d_mark: int = 32, extra: int = 0,
        dropout: float = 0.0, labels: bool = False, clock: int = 0, bins: int = 0, levels: Sequence[float] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if marks < 1:
            raise ValueError(f"the events have {marks} marks; expected at least 1, which is one for all")
        if not (math.isfinite(log_mean) and 0 < log_std < math.inf):
            raise ValueError(
                f"log gaps have mean {log_mean} and deviation {log_std}; expected numbers, the last above 0"
            )
        if d_mark < 1:
            raise ValueError(f"embed.d_mark is {d_mark}; expected at least 1")
        if clock < 0:
            raise ValueError(f"embed.clock is {clock}; expected a count of frequencies, 0 for no clock")
        self.d_model, self.extra, self.labels, self.clock = d_model, extra, labels, clock
        self.register_buffer("a", torch.tensor(log_std, dtype=torch.float32))
        self.register_buffer("b", torch.tensor(log_mean, dtype=torch.float32))
        self.marked = marks > 1 or labels
        self.unknown = marks
        if self.marked:
            self.mark = nn.Embedding(marks + 1, d_mark, padding_idx=marks)
        self.mix = nn.Linear(1 + (d_mark if self.marked else 0) + extra + 2 * clock, d_model)
        self.dropout = Dropout(dropout)
        if bins < 0 or bins == 1 or bins and not levels:
            raise ValueError(f"embed.bins is {bins}; expected 2 or more, or 0 for none, and quantiles to cut them by")
        self.binned = bins > 0
        if self.binned:
            shares = torch.arange(1, bins, dtype=torch.float64) / bins
            edges = torch.tensor(levels, dtype=torch.float64).quantile(shares).unique()
            self.register_buffer("edges", edges.to(torch.float32))
            self.bin = nn.Embedding(len(edges) + 2, d_model)
            nn.init.normal_(self.bin.weight, std=0.3)

    def forward(self, gap: Tensor, mark: Tensor, mask: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        return self.scan(self.start(len(gap), device=gap.device), gap, mark, mask, extra)[1]

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        """The state before the first event: (B,) float64, the time since the first one; nothing without a clock."""
        if not self.clock:
            return ()
        exact = (
            torch.float32 if torch.device(device or "cpu").type == "mps" else torch.float64
        )  # Apple's have no float64
        return (torch.zeros(batch, device=device, dtype=exact),)

    def scan(
        self, state: State, gap: Tensor, mark: Tensor, mask: Tensor | None = None, extra: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """What forward does, from a state on: any l events, 0 too."""
        passed = gap if mask is None else gap.masked_fill(~mask, 0.0)
        if mask is not None:
            gap = gap.masked_fill(~mask, 1.0)
            mark = mark & mask[..., None] if self.labels else mark.masked_fill(~mask, self.unknown)
        kind = self.mix.weight.dtype
        gap = gap.to(torch.promote_types(gap.dtype, torch.float32))  # half precision has no 1e-8
        normal = ((gap + LEAST).log() - self.b).div(self.a)
        parts = [normal.clamp(-REACH, REACH)[..., None].to(kind)]
        if self.marked:
            parts.append(mark.to(kind) @ self.mark.weight[:-1] if self.labels else self.mark(mark))
        if self.extra:
            if extra is None or extra.shape[-1] != self.extra:
                found = "none" if extra is None else extra.shape[-1]
                raise ValueError(f"events come with {found} covariates; expected {self.extra}")
            parts.append(extra if mask is None else extra.masked_fill(~mask[..., None], 0.0))
        if self.clock:
            time = state[0][:, None] + passed.to(state[0].dtype).cumsum(1)
            state = (time[:, -1] if time.shape[1] else state[0],)
            parts.append(self._waves(time).to(kind))
        tokens = self.mix(torch.cat(parts, -1))
        if self.binned:
            place = torch.bucketize(normal, self.edges.to(normal.dtype)) + 1
            tokens = tokens + self.bin(place.masked_fill(gap <= 0, 0))
        tokens = self.dropout(tokens)
        return state, tokens if mask is None else tokens.masked_fill(~mask[..., None], 0.0)

    def _waves(self, time: Tensor) -> Tensor:
        """(B, L) -> (B, L, 2 clock)."""
        turns = time[..., None] / (self.b.to(time.dtype).exp() * 4.0 ** torch.arange(self.clock, device=time.device))
        return torch.cat([turns.sin(), turns.cos()], -1)
