"""The sparsity measure of ProbSparse attention: as the paper's code gathers it, and both ways of ours."""

import statistics

import torch
from torch import Tensor

from benchmarks.measure import Row, record, seconds
from forecast.ops import selection

SHAPES = ((32, 96), (8, 336), (8, 720), (2, 1440), (1, 4096), (1, 8192))  # batch, steps
HEADS, WIDTH, FACTOR, ROUNDS, REPEATS = 8, 64, 5, 3, 3


def as_published(q: Tensor, k: Tensor, sample: Tensor) -> Tensor:
    """(B, H, L, U, E) sampled keys in one piece."""
    keys = k[:, :, sample]
    scores = (q[..., None, :] @ keys.transpose(-1, -2))[..., 0, :]
    return scores.amax(-1) - scores.sum(-1) / k.shape[2]


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    rows: list[Row] = []
    for batch, length in SHAPES:
        q, k = torch.randn(2, batch, HEADS, length, WIDTH).unbind(0)
        count = selection.budget(length, FACTOR)
        sample = selection.sample_keys(length, length, count, seed=0, layer=0)
        a = selection.top_queries(as_published(q, k, sample), count).sort(-1).values
        b = selection.top_queries(selection.sparsity(q, k, sample), count).sort(-1).values
        found = []
        for _ in range(ROUNDS):
            plain = seconds(lambda: as_published(q, k, sample), REPEATS)  # noqa: B023
            found.append((plain, *(_forced(limit, q, k, sample) for limit in (1 << 30, 0, selection.DENSE_UNTIL))))
        plain, dense, gather, chosen = (statistics.median(times) for times in zip(*found, strict=True))
        rows.append(
            {
                "batch": batch, "steps": length, "keys sampled": count, "published s": plain, "dense s": dense,
                "gather s": gather, "chosen s": chosen,
                "published ÷ chosen": statistics.median(times[0] / times[3] for times in found),
                "same queries": f"{(a == b).double().mean().item():.2%}",
            }
        )  # fmt: skip
    record("sparsity", rows)


def _forced(limit: int, q: Tensor, k: Tensor, sample: Tensor) -> float:
    before, selection.DENSE_UNTIL = selection.DENSE_UNTIL, limit
    try:
        return seconds(lambda: selection.sparsity(q, k, sample), REPEATS)
    finally:
        selection.DENSE_UNTIL = before
