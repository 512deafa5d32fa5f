from dataclasses import replace
from pathlib import Path

import pytest

from tapeout.chip import load_chip
from tapeout.perf import load_workload
from tapeout.report import Results, price_items

ROOT = Path(__file__).parents[2]


def test_items_sum_to_the_price(results: Results):
    assert sum(results.usd_per_mtoken.values()) == pytest.approx(
        results.tokens.rows[0].usd_per_mtoken.mid
    )


def test_parts_of_the_package_keep_their_shares(results: Results):
    items, package = results.usd_per_mtoken, results.die.package_usd
    for name in ("die", "memory"):
        assert items[name] / items["rest of the package"] == pytest.approx(
            package[name].mid / sum(package[n].mid for n in package if n not in ("die", "memory"))
        )


def test_more_power_costs_energy_and_site_only(results: Results):
    chip = load_chip(ROOT / "chips/full.toml")
    hot = replace(chip, process=replace(chip.process, power_w=2 * chip.process.power_w))
    load = load_workload(ROOT / "workloads/chat.toml")
    items = price_items(hot, results.die, results.speeds[0], utilisation=load.utilisation)
    ratios = {name: usd / results.usd_per_mtoken[name] for name, usd in items.items()}
    doubled = {name for name, ratio in ratios.items() if ratio == pytest.approx(2)}
    assert doubled == {"energy", "site"}
    assert all(ratio == pytest.approx(1) for name, ratio in ratios.items() if name not in doubled)
