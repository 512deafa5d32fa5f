from pathlib import Path

import pytest

from tapeout.errors import ConfigError
from tapeout.model import load_architecture
from tapeout.runtime import load_constitution

from .conftest import ROOT, rules

ONE = """
[[principle]]
id = "a"
sentence = "Do not."
judged_by = "harmful"
threshold = 0.5
"""


def test_the_shipped_constitution_fits_the_shipped_critic():
    constitution = load_constitution(ROOT / "constitutions/default.toml")
    columns = constitution.columns(load_architecture(ROOT / "models/critic").labels)
    assert sorted(columns) == list(range(len(constitution.principle)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "principle"),
        ("principle = []", "length >= 1"),
        (ONE.replace("threshold", "treshold"), "unknown key `treshold`.*did you mean `threshold`"),
        (ONE.replace("0.5", "0"), "> 0"),
        (ONE.replace("0.5", "1"), "< 1"),
        (ONE.replace("0.5", "nan"), "Expected|> 0"),
        (ONE.replace('"a"', '""'), "length >= 1"),
        (ONE + ONE, "an id of its own, not `a` twice"),
        (ONE + "x = ", "Invalid value"),
        (ONE + 'extra = "x"', "unknown key `extra`"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_constitution(path)
    assert caught.value.where == str(path)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read the file"):
        load_constitution(tmp_path / "none.toml")


def test_a_label_that_the_critic_lacks_is_refused():
    with pytest.raises(ConfigError, match=r"not `harmfull`; did you mean `harmful`\?"):
        rules(0.5, label="harmfull").columns(("benign", "harmful"))
    with pytest.raises(ConfigError, match=r"labels \(none\)"):
        rules(0.5).columns(())
