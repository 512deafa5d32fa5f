"""Hours and tokens against published and closed forms."""

from collections.abc import Callable

import numpy as np
import pytest

from tapeout.chip import Chip
from tapeout.cost import hour_cost, recovery, usd_per_mtoken
from tapeout.cost.token import HOURS_PER_YEAR
from tapeout.cost.values import Array
from tapeout.errors import ConfigError

Inputs = Callable[[Chip], dict[str, Array]]


def test_units_of_the_price_of_a_token():
    """One dollar an hour at 1e6/3600 tokens a second is one dollar a million tokens."""
    assert float(usd_per_mtoken(1, tokens_per_s=1e6 / 3600, utilisation=1)) == pytest.approx(1)
    assert float(usd_per_mtoken(2.2, tokens_per_s=1000, utilisation=0.5)) == pytest.approx(
        1.2222, abs=1e-4
    )


def test_recovery_is_an_annuity():
    assert float(recovery(0, 4)) == 0.25
    assert float(recovery(1e-8, 4)) == pytest.approx(0.25, rel=1e-6)
    rate, years = 0.12, 4
    paid = sum(float(recovery(rate, years)) / (1 + rate) ** t for t in range(1, years + 1))
    assert paid == pytest.approx(1)


def test_gb200_hours_bottom_up():
    """A 3.4 MUSD rack of 72, 2.1 kW all in at 0.08 USD/kWh, 10.5 USD/W for 15 years at 12 %.

    Published for an owned GB200: 2.21 USD an hour (InferenceX constants, 04/2026).
    """
    rack_usd, energy_usd = 3.4e6 / 72, 2.1 * 0.08
    plain = rack_usd * float(recovery(0, 4)) / HOURS_PER_YEAR + energy_usd
    financed = rack_usd * float(recovery(0.12, 4)) / HOURS_PER_YEAR + energy_usd
    site = 2100 * 10.5 * float(recovery(0.12, 15)) / HOURS_PER_YEAR
    assert plain == pytest.approx(1.52, abs=0.01)
    assert financed == pytest.approx(1.94, abs=0.01)
    assert financed + site == pytest.approx(2.31, abs=0.01)
    assert abs(financed + site - 2.21) / 2.21 < 0.05


def test_an_hour_is_its_items(full: Chip, inputs: Inputs):
    hour = hour_cost(full, inputs(full))
    items = (hour.capital_usd, hour.facility_usd, hour.operations_usd, hour.energy_usd)
    assert float(hour.total_usd) == pytest.approx(sum(float(one) for one in items))
    assert float(hour.energy_usd) == pytest.approx(0.7 * 1.75 * 0.068)


@pytest.mark.parametrize("name", ["partner_markup", "all_in_power", "electricity_usd_per_kwh"])
def test_dearer_inputs_make_dearer_hours(full: Chip, inputs: Inputs, name: str):
    x = inputs(full)
    dearer = hour_cost(full, x | {name: x[name] * 1.5})
    assert float(dearer.total_usd) > float(hour_cost(full, x).total_usd)


def test_nonsense_is_refused(full: Chip, inputs: Inputs):
    with pytest.raises(ConfigError, match="price of an hour must be at least 0, not -1"):
        usd_per_mtoken(-1, tokens_per_s=1, utilisation=1)
    with pytest.raises(ConfigError, match="tokens per second must be above 0, not 0"):
        usd_per_mtoken(1, tokens_per_s=0, utilisation=1)
    with pytest.raises(ConfigError, match=r"utilisation must be at most 1, not 1\.2"):
        usd_per_mtoken(1, tokens_per_s=1, utilisation=1.2)
    with pytest.raises(ConfigError, match="life in years must be above 0"):
        recovery(0.1, 0)
    x = inputs(full) | {"electricity_usd_per_kwh": np.asarray(-0.1)}
    with pytest.raises(ConfigError, match=r"electricity price must be at least 0, not -0\.1"):
        hour_cost(full, x)
