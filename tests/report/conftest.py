import pytest

from sample_results import sample_results
from tapeout.report import Results


@pytest.fixture(scope="session")
def results() -> Results:
    return sample_results()
