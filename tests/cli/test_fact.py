"""`tapeout fact` from end to end."""

import json

import pytest
from typer.testing import CliRunner

from tapeout.cli.fact import app
from tapeout.errors import ConfigError
from tapeout.facts import facts


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_has_a_line_for_each_figure():
    assert len(run("list").splitlines()) == len(facts())
    assert set(json.loads(run("list", "--json"))) == set(facts())


def test_show():
    assert run("show", "pue").startswith("pue = 1.44 [1.09 to 1.54]")
    assert json.loads(run("show", "pue", "--json"))["kind"] == "measured"


def test_show_of_an_unknown_figure():
    with pytest.raises(ConfigError, match="did you mean `pue`"):
        run("show", "puee")


def test_check():
    assert run("check").endswith(f"{len(facts())} figures: good\n")
    assert json.loads(run("check", "--json"))["figures"] == len(facts())
