import math

import numpy as np
import pytest

from tapeout.chip import load_chip
from tapeout.compiler import recipe_named
from tapeout.errors import CapacityError, ConfigError
from tapeout.model import load_model, load_tokenizer
from tapeout.runtime import Window, quality, quality_lines, windows_of
from tapeout.runtime.quality import surprise_bits

from .conftest import ROOT, Letters


def test_surprise_is_the_log_of_the_probability():
    logits = np.log(np.array([[1, 3], [3, 1], [9, 9]], np.float32))
    assert surprise_bits(logits, [0, 1, 0]) == pytest.approx(-math.log2(3 / 4 * 3 / 4))
    assert surprise_bits(logits + 1000, [0, 0, 0]) == pytest.approx(2 - math.log2(3 / 4), abs=1e-3)


def test_windows_are_whole_and_count_bytes():
    windows = windows_of("abcdefgh", Letters(), windows=2, window_tokens=3)
    assert windows == (
        Window(tokens=(97, 98, 99), bytes=4),
        Window(tokens=(100, 101, 102), bytes=4),
    )
    with pytest.raises(ConfigError, match="2 windows of 5 tokens, not 8"):
        windows_of("abcdefgh", Letters(), windows=2, window_tokens=5)
    for windows, window_tokens in ((0, 4), (1, 1)):
        with pytest.raises(ConfigError, match="at least one window of two tokens"):
            windows_of("abcdefgh", Letters(), windows=windows, window_tokens=window_tokens)


def test_the_shipped_model_on_held_out_text():
    """FP32 on the chip is the reference; formats cost a little; a random guess takes 8 bits."""
    text = (ROOT / "workloads/heldout.txt").read_text()
    tokenizer = load_tokenizer(ROOT / "models/draft")
    windows = windows_of(text, tokenizer, windows=2, window_tokens=128)
    recipes = [recipe_named(name) for name in ("fp32", "mxfp8_e4m3", "mxfp4_kv4")]
    chip = load_chip(ROOT / "chips/mid.toml")
    found = quality(load_model(ROOT / "models/draft"), chip, recipes, windows)
    reference, fp32, mxfp8, mxfp4 = (q.bits_per_byte for q in found)
    assert fp32 == pytest.approx(reference, abs=1e-4)
    assert 0.1 < reference < 4
    assert abs(mxfp8 - reference) < 0.2
    assert mxfp8 < mxfp4 < reference + 1
    assert [q.bytes for q in found] == [254] * 4
    assert [q.tokens for q in found] == [256] * 4
    lines = quality_lines(found)
    assert lines[0].startswith("reference")
    assert "over 254 bytes" in lines[1]
    assert all(q.tokens_per_s > 0 for q in found)


def test_a_window_must_fit_the_model():
    windows = [Window(tokens=(1,) * 65, bytes=64)]
    model = load_model(ROOT / "tests/checkpoints/qwen2-bias")
    with pytest.raises(CapacityError, match="at most 64 tokens, not 65"):
        quality(model, load_chip(ROOT / "chips/mid.toml"), [recipe_named("fp32")], windows)
