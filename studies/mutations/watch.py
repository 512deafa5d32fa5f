"""A plugin of pytest that says, as JSON, what failed first and why, and which package it was of."""

import json
import os
from pathlib import Path

import pytest

NOT_A_VERDICT = (ImportError, SyntaxError, NameError, AttributeError, TypeError)
"""What a mutation raises that makes no sense in Python, which says nothing of the tests."""

BUILDERS = ("/amaranth/", "/tapeout/rtl/verilog.py", "/tapeout/rtl/verilated.py")
"""A failure on the way through these files is one of making Verilog, not of what it does."""


class Watch:
    """Keeps the first failure."""

    def __init__(self, path: Path):
        self.path = path
        self.seen = {"passed": 0, "failed": "", "line": "", "broken": False}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        """Look at each phase of each test."""
        report = yield
        if report.failed and not self.seen["failed"]:
            error = call.excinfo
            files = [str(entry.path) for entry in error.traceback]
            building = any(part in file for part in BUILDERS for file in files)
            line = str(error.value).strip().splitlines() or [""]
            self.seen |= {
                "failed": item.nodeid,
                "line": f"{error.typename}: {line[0]}",
                "broken": building or call.when != "call" or error.errisinstance(NOT_A_VERDICT),
            }
        elif report.passed and call.when == "call":
            self.seen["passed"] += 1
        return report

    def pytest_sessionfinish(self, exitstatus: int):
        """Write the report."""
        import tapeout

        self.seen |= {"package": tapeout.__file__, "exit": int(exitstatus)}
        self.path.write_text(json.dumps(self.seen))


def pytest_configure(config: pytest.Config):
    """Begin to watch."""
    config.pluginmanager.register(Watch(Path(os.environ["MUTATION_REPORT"])))
