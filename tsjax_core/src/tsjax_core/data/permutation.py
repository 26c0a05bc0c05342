"""A permutation that is computed for any positions alone, in constant memory.

SIMON (Beaulieu et al., https://eprint.iacr.org/2013/404) is a Feistel cipher, and with any block
size that holds the numbers below n it permutes more than those. What leaves them is enciphered
again until it comes back, which is a permutation of 0 to n - 1 (cycle walking: Black and Rogaway,
Ciphers with arbitrary finite domains, 2002). Block sizes and round keys are those of Grain's
`index_shuffle`, so that the permutations are the same; they are computed here for many positions
in one call.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tsjax_core.types import HostArray

_LEAST_BITS = 16
_32_BITS = 0xFFFFFFFF


def permuted(positions: HostArray, n: int, seed: int, rounds: int) -> HostArray:
    """Return what a permutation of 0 to n - 1 has at `positions`, int64 of the same shape (k,).

    `positions` are int64 from 0 to n - 1, `seed` has 32 bits, and `rounds` is even and at least 4.
    The values are those of `grain.experimental.index_shuffle(position, n - 1, seed, rounds)`,
    except for n = 2**k + 1 with an even k from 16 on, where Grain gives one index twice.
    """
    word = (max(_LEAST_BITS, (n - 1).bit_length()) + 1) // 2
    keys = _round_keys(seed, rounds)
    values = _enciphered(positions, word, keys)
    outside = np.flatnonzero(values >= n)
    while outside.size:
        again = _enciphered(values[outside], word, keys)
        values[outside] = again
        outside = outside[again >= n]
    return values


def _enciphered(values: HostArray, word: int, keys: tuple[int, ...]) -> HostArray:
    """Return blocks of two words of `word` bits each after one round of SIMON for each key."""
    kind = np.dtype(np.uint32 if 2 * word <= 32 else np.uint64).type
    mask = kind((1 << word) - 1)
    left = (values >> word).astype(kind)
    right = values.astype(kind) & mask
    for key in keys:
        # Bits of a word that is written twice are those of the word rotated.
        twice = right | (right << kind(word))
        turned = twice >> kind(word - 1)
        turned &= twice >> kind(word - 8)
        turned ^= twice >> kind(word - 2)
        turned ^= left
        turned ^= kind(key & int(mask))
        turned &= mask
        left, right = right, turned
    return (left.astype(np.int64) << word) | right.astype(np.int64)


@lru_cache(maxsize=64)
def _round_keys(seed: int, rounds: int) -> tuple[int, ...]:
    """Return `rounds` words of 32 bits, as `std::seed_seq{seed}.generate` of C++ does.

    ISO/IEC 14882:2020, [rand.util.seedseq].
    """
    n = rounds
    t = 11 if n >= 623 else 7 if n >= 68 else 5 if n >= 39 else 3 if n >= 7 else (n - 1) // 2
    p = (n - t) // 2
    q = p + t
    words = [0x8B8B8B8B] * n
    for k in range(n):
        mixed = _mixed(1664525, words[k] ^ words[(k + p) % n] ^ words[k - 1])
        added = (mixed + (1 if k == 0 else k + seed * (k == 1))) & _32_BITS
        words[(k + p) % n] = (words[(k + p) % n] + mixed) & _32_BITS
        words[(k + q) % n] = (words[(k + q) % n] + added) & _32_BITS
        words[k] = added
    for k in range(n):
        mixed = _mixed(1566083941, words[k] + words[(k + p) % n] + words[k - 1])
        less = (mixed - k) & _32_BITS
        words[(k + p) % n] ^= mixed
        words[(k + q) % n] ^= less
        words[k] = less
    return tuple(words)


def _mixed(factor: int, word: int) -> int:
    word &= _32_BITS
    return factor * (word ^ (word >> 27)) & _32_BITS
