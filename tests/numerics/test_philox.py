import pytest

from tapeout.numerics import philox4x32, random_bits64

# Known answers of the Random123 library (kat_vectors, philox4x32 with 10 rounds).
KNOWN = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, int, int, int]
):
    assert philox4x32(counter, key) == words
    whole = sum(word << 32 * i for i, word in enumerate(counter))
    assert random_bits64(key[1] << 32 | key[0], whole) == words[1] << 32 | words[0]


def test_every_counter_and_seed_gives_other_bits():
    draws = {random_bits64(seed, counter) for seed in range(40) for counter in range(40)}
    assert len(draws) == 1600
    ones = sum(draw.bit_count() for draw in draws)
    assert abs(ones - 1600 * 32) < 5 * (1600 * 64 / 4) ** 0.5  # five standard deviations


def test_seed_and_counter_must_fit():
    with pytest.raises(AssertionError, match="seed must be in"):
        random_bits64(1 << 64, 0)
    with pytest.raises(AssertionError, match="counter must be in"):
        random_bits64(0, -1)
