"""Scores of classes: over N series and K classes, of those whose label is known (≥ 0), in float64.

accuracy            the share that was named rightly
balanced_accuracy   the mean over the classes that came of the share that was named rightly
macro_f1            the mean of F1 over the classes that came or were named
log_loss            the mean of -log p(label), nats
ece                 expected calibration error: Σ over BINS equal parts of (0, 1] of share · |accuracy - confidence|, by
                    the confidence in what was named (Guo et al. 2017, arXiv 1706.04599, §2)

A temperature T divides logits: p = softmax(z / T) (§4.2 there).
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

BINS: Final = 15
RANGE: Final = (0.05, 20.0)  # of temperatures
SPREAD: Final = 0.5  # of the log of the temperature of a trained model, before its validation is seen
STEPS: Final = 60  # halvings: log RANGE is 6 wide and float64 knows no finer


class PerClass(NamedTuple):
    """Of each class (K,); 0 where there was nothing to divide by."""

    series: Tensor  # int64, how often it came
    precision: Tensor
    recall: Tensor
    f1: Tensor


class Reliability(NamedTuple):
    """Of each bin that holds series, in rising order."""

    confidence: Tensor  # the mean
    accuracy: Tensor
    series: Tensor  # int64


def confusion(labels: Tensor, guesses: Tensor, classes: int) -> Tensor:
    """labels and guesses (N,) int64 -> (K, K) int64, rows are the truth."""
    known = labels >= 0
    index = labels[known] * classes + guesses[known]
    return torch.bincount(index, minlength=classes * classes).view(classes, classes).cpu()


def per_class(table: Tensor) -> PerClass:
    """Of a confusion table (K, K)."""
    right, came, named = table.diagonal().double(), table.sum(1), table.sum(0)
    both = (came + named).clamp(min=1)
    return PerClass(came, right / named.clamp(min=1), right / came.clamp(min=1), 2 * right / both)


def of_table(table: Tensor) -> dict[str, float | None]:
    """accuracy, balanced_accuracy and macro_f1 of a confusion table (K, K); None where nothing came."""
    each, total = per_class(table), int(table.sum())
    if not total:
        return {"accuracy": None, "balanced_accuracy": None, "macro_f1": None}
    came = each.series > 0
    return {
        "accuracy": int(table.diagonal().sum()) / total,
        "balanced_accuracy": float(each.recall[came].mean()),
        "macro_f1": float(each.f1[came | (table.sum(0) > 0)].mean()),
    }


def log_loss(logits: Tensor, labels: Tensor) -> float | None:
    """logits (N, K), labels (N,); None where no label is known."""
    z, labels = _known(logits, labels)
    return float(torch.nn.functional.cross_entropy(z, labels)) if len(labels) else None


def reliability(logits: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """By confidence, the p of what is named: bin i holds (i / bins, (i + 1) / bins]."""
    z, labels = _known(logits, labels)
    p, guess = z.softmax(-1).max(-1)
    at = ((p * bins).ceil().long() - 1).clamp(0, bins - 1)
    count = torch.bincount(at, minlength=bins)
    sums = [torch.bincount(at, weights=x, minlength=bins) for x in (p, (guess == labels).double())]
    some = count > 0
    confidence, right = (x[some] / count[some] for x in sums)
    return Reliability(confidence, right, count[some])


def calibration_error(found: Reliability) -> float | None:
    """Expected calibration error; None where there was no series."""
    total = int(found.series.sum())
    off = (found.accuracy - found.confidence).abs() * found.series
    return float(off.sum()) / total if total else None


def scores(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """All five, of logits (N, K) and labels (N,). The first of equally likely classes is the one that is named."""
    table = confusion(labels, logits.argmax(-1), logits.shape[-1])
    return {
        **of_table(table),
        "log_loss": log_loss(logits, labels),
        "ece": calibration_error(reliability(logits, labels)),
    }


def temperatures(count: int = 33) -> Tensor:
    """(count,) float64 over RANGE, neighbours in the same ratio; 1 is in the middle of an odd count."""
    low, high = (torch.tensor(end, dtype=torch.float64).log() for end in RANGE)
    return torch.linspace(float(low), float(high), count, dtype=torch.float64).exp()


def nll_at(logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
    """(T,) sums over the known labels of -log p(label) at each temperature (T,); they add up over batches and ranks."""
    z, labels = _known(logits, labels, temperatures.dtype)
    z = z / temperatures.to(z.device)[:, None, None]  # (T, N, K)
    picked = z.gather(2, labels.expand(len(z), -1)[..., None])[..., 0]
    return (z.logsumexp(2) - picked).sum(1)


def fit_temperature(logits: Tensor, labels: Tensor, spread: float = math.inf) -> float:
    """The temperature within RANGE at which the log loss of logits (N, K) is least; 1 where it is the same at any.

    spread: of log T, which is then taken to be normal around 0: few series that are all named rightly would otherwise
    make everything certain.

    In β = 1 / T the loss is convex: its slope Σ (E_p z - z_label) rises with β, and halving log T finds where it is 0.
    ValueError without a known label.
    """
    z, labels = _known(logits, labels)
    if not len(labels):
        raise ValueError(f"none of the {len(logits)} series has a known label; a temperature is fitted to some")
    z = z - z.gather(1, labels[:, None])

    def slope(log_t: float) -> float:
        p = (z * torch.tensor(-log_t, dtype=z.dtype).exp()).softmax(-1)
        return float((p * z).sum())

    low, high = (float(torch.tensor(end, dtype=torch.float64).log()) for end in RANGE)
    if spread < math.inf:
        return _likeliest(z, labels, spread, low, high)
    if not bool(z.any()):
        return 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if slope(middle) > 0:  # it wants a smaller β, a higher T
            low = middle
        else:
            high = middle
    return float(torch.tensor((low + high) / 2, dtype=torch.float64).exp())


def _likeliest(z: Tensor, labels: Tensor, spread: float, low: float, high: float) -> float:
    """The temperature of the least log loss + (log T)² / (2 spread²), by ever finer grids."""
    for _ in range(8):
        log_t = torch.linspace(low, high, 33, dtype=torch.float64)
        losses = nll_at(z, labels, log_t.exp()) + log_t.square() / (2 * spread**2)
        best, step = float(log_t[losses.argmin()]), (high - low) / 32
        low, high = max(low, best - step), min(high, best + step)
    return float(torch.tensor(best, dtype=torch.float64).exp())


def _known(logits: Tensor, labels: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    some = labels >= 0
    return logits[some].to(dtype), labels[some]
