"""Philox4x32-10, the counter-based random number generator of the sampler.

Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

Counter = tuple[int, int, int, int]
Key = tuple[int, int]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key before each further round
_WORD = 0xFFFFFFFF


def philox4x32(counter: Counter, key: Key, *, rounds: int = 10) -> Counter:
    """Four random 32-bit words of a counter of four words and a key of two, lowest word first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & _WORD,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & _WORD,
        )
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def random_bits64(seed: int, counter: int) -> int:
    """64 random bits: word 1 and word 0 of Philox at a 128-bit counter under a 64-bit seed."""
    assert 0 <= seed < 1 << 64, f"seed must be in 0..2^64 - 1, not {seed}"
    assert 0 <= counter < 1 << 128, f"counter must be in 0..2^128 - 1, not {counter}"
    words = tuple((counter >> shift) & _WORD for shift in (0, 32, 64, 96))
    low, high, _, _ = philox4x32(
        (words[0], words[1], words[2], words[3]), (seed & _WORD, seed >> 32)
    )
    return high << 32 | low
