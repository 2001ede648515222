"""A random order of n things without a list of them: a permutation of 0 … n - 1 that is worked out where it is asked.

A Feistel network of ROUNDS rounds permutes the numbers of 2b bits, 4^b being the least such power that holds n; what
falls outside n is permuted again until it falls inside (Black & Rogaway 2002, cycle walking). Less than 4 turns are
needed on average.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints

ROUNDS: Final = 6
Words = NDArray[np.uint64]


def permute(k: Ints, n: "Ints | int", key: "Ints | int") -> Ints:
    """(B,) places in an order → (B,) numbers there. `n` and `key`, the seed of the order, may differ by element."""
    count = np.broadcast_to(np.asarray(n, np.uint64), k.shape)
    seed = np.broadcast_to(np.asarray(key, np.uint64), k.shape)
    half = np.maximum((_bits(count - np.uint64(1)) + 1) // 2, 1).astype(np.uint64)
    found = k.astype(np.uint64)
    left = np.arange(len(k))
    while len(left):
        found[left] = _feistel(found[left], half[left], seed[left])
        left = left[found[left] >= count[left]]
    return found.astype(np.int64)


def _bits(values: Words) -> Ints:
    """How many bits a number has; exact below 2^53, more than any count of windows."""
    return np.asarray(np.frexp(values.astype(np.float64))[1], np.int64)


def _feistel(x: Words, half: Words, key: Words) -> Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for i in range(ROUNDS):
        left, right = right, left ^ (_mixed(right ^ _mixed(key + np.uint64(i))) & mask)
    return (left << half) | right


def _mixed(x: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014): every bit of the result depends on all of `x`."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
