"""What others run for the same maths: the rivals that our operators are timed against. Plain torch."""

import math

import torch
from torch import Tensor


def hillis_steele(s: Tensor, v: Tensor) -> Tensor:
    """Prefix attention as Aaren's paper and public code scan it: Hillis and Steele's doubling over the tuples
    (m, u, w), with autograd for the gradient; s (B, H, L), v (B, H, L, D) -> (B, H, L, D).

    Each of the ⌈log₂ L⌉ rounds joins every step's tuple with the one `back` steps earlier, so it does O(L log L)
    work, and autograd keeps every round.
    """
    m, u, w = s, torch.ones_like(s), v
    back = 1
    while back < s.shape[-1]:
        joint = torch.maximum(m[..., :-back], m[..., back:])
        old, new = torch.exp(m[..., :-back] - joint), torch.exp(m[..., back:] - joint)
        u = torch.cat([u[..., :back], u[..., :-back] * old + u[..., back:] * new], -1)
        joined = w[..., :-back, :] * old[..., None] + w[..., back:, :] * new[..., None]
        w = torch.cat([w[..., :back, :], joined], -2)
        m = torch.cat([m[..., :back], joint], -1)
        back *= 2
    return w / u[..., None]


def published_sparsity(q: Tensor, k: Tensor, sample: Tensor) -> Tensor:
    """The measure of ProbSparse attention as Informer's published code forms it (arXiv 2012.07436): all sampled keys
    gathered, (B, H, L_Q, U, E), from a view of (B, H, L_Q, L_K, E)."""
    b, h, l_q, e = q.shape
    views = k.unsqueeze(-3).expand(b, h, l_q, k.shape[2], e)
    keys = views[:, :, torch.arange(l_q, device=q.device)[:, None], sample]
    scores = (q.unsqueeze(-2) @ keys.transpose(-2, -1)).squeeze(-2)
    return scores.amax(-1) - scores.sum(-1) / k.shape[2]


def published_probsparse(q: Tensor, k: Tensor, v: Tensor, sample: Tensor, u: int) -> Tensor:
    """Unmasked ProbSparse attention in the published formulation, autograd through all of it."""
    b, h, l_q, e = q.shape
    top = published_sparsity(q, k, sample).topk(u, sorted=False).indices
    at = (torch.arange(b, device=q.device)[:, None, None], torch.arange(h, device=q.device)[:, None], top)
    weights = (q[at] @ k.transpose(-2, -1) / math.sqrt(e)).softmax(-1)
    out = v.mean(-2, keepdim=True).expand(b, h, l_q, e).clone()
    out[at] = weights @ v
    return out
