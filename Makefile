# Everything runs from .venv, which the first target makes; `make PYTHON=python3.12 demo` picks a Python.
PYTHON ?= python3
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: demo test verify lint docs docs-check clean

demo: .venv/rtl  ## Text under a critic, bits per byte, step times, dollars, a report, tokens on RTL.
	$(BIN)/python examples/demo.py

test: lint docs-check  ## Everything that must hold at every commit.
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" --durations=15

verify: .venv/tests  ## The long campaign: every slow test, every property with ten times the examples.
	$(BIN)/pytest -n 2 --dist worksteal --hypothesis-profile=ci \
	  -m "(slow or hypothesis) and not huge" --durations=30

lint: .venv/tests  ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/package  ## Write the pages and pictures that come from the code.
	$(BIN)/python docs/generate.py

docs-check: .venv/package
	$(BIN)/python docs/generate.py --check

clean:  ## Remove what the other targets made.
	rm -rf .venv out build src/tapeout.egg-info

.venv/bin/python:
	@$(PYTHON) --version >/dev/null 2>&1 || { \
	  echo "error: $(PYTHON) not found; on Debian or Ubuntu: apt install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: tapeout needs Python 3.11 or newer, not $$($(PYTHON) --version);" \
	    "make PYTHON=python3.11 ... names another" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments;" \
	    "on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv

.venv/package: pyproject.toml | .venv/bin/python
	@echo "installing tapeout and what it needs (about 130 MB to download the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/rtl: .venv/package
	@echo "installing what makes and simulates RTL (about 70 MB to download the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[rtl]"
	@touch $@

.venv/tests: .venv/rtl
	@echo "installing what the tests need (about 140 MB to download the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@
