from tapeout.numerics import FORMATS, TABLE_NAMES, ScaleMode, numerics_page


def test_the_page_holds_every_format_function_and_bound():
    page = numerics_page()
    for one in FORMATS:
        assert f"| `{one.name}` | {one.code} |" in page
    for name in TABLE_NAMES:
        assert f"| `{name}` |" in page
    for mode in ScaleMode:
        assert f"    {mode.name} " in page
    for heading in (
        "exp2",
        "segments",
        "softmax_step",
        "rms_norm",
        "rope",
        "sample",
        "matmul_wide",
    ):
        assert f"### `{heading}`" in page
    assert "| `recip` | 0.85 | " in page
    assert "Raises:" not in page
    assert "None" not in page
