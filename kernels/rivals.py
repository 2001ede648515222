"""What others run for the same maths: the rivals that our operators are timed against. Plain torch."""

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
