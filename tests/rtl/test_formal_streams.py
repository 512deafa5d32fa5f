"""Every component with streams keeps their rules: proved, or else seen in simulation."""

from pathlib import Path

import pytest
from amaranth.hdl import Signal

from rtl.proofs_faults import Tampered
from rtl.proofs_small import classes, small
from rtl.proofs_streams import SURROUNDINGS, Surrounded
from tapeout.rtl.formal import RefutedError, prove
from tapeout.rtl.stream_rules import streams

TESTS = Path(__file__).parent.parent

PROVED = (
    "Bursts", "Fifo", "MemoryFifo", "PageProduct", "PassWalk", "RoundRobin", "SkidBuffer",
)  # fmt: skip

PROVED_SLOWLY = (
    "Adder", "Aligner", "Arbiter", "BlockDot", "ChunkCodes", "Decoder", "DotUnit", "GroupWalk",
    "Multiplier", "OperandFetcher", "Packer", "Router", "RunCutter",
    "ScalarLoad", "ScaleWriter", "Steps", "WordReader",
)  # fmt: skip

RECEIVE = (
    "Accumulators", "Counters", "Histogram", "ReadEnd", "Scratchpad", "TileIssue", "WindowWalk",
    "WriteEnd",
)  # fmt: skip
"""They have streams, but send nothing that could break a rule of senders."""

SIMULATED = {
    "BlockReader": "agree/test_rtl_dequantiser.py",
    "Bounds": "agree/test_rtl_bounds.py",
    "Dequantiser": "agree/test_rtl_dequantiser.py",
    "ElementEngine": "agree/test_rtl_vector.py",
    "Fetch": "rtl/test_fetch.py",
    "InstructionQueue": "rtl/test_queue.py",  # one of short instructions is proved in `order`
    "Jobs": "agree/test_rtl_load.py",
    "LineRequests": "agree/test_rtl_matrix.py",
    "Load": "agree/test_rtl_load.py",
    "MatrixJobs": "agree/test_rtl_matrix.py",
    "MatrixUnit": "agree/test_rtl_matrix.py",
    "PageTable": "agree/test_rtl_load.py",
    "Processor": "agree/test_rtl_processor.py",
    "Quantiser": "agree/test_rtl_quantiser.py",
    "RowChunks": "agree/test_rtl_quantiser.py",
    "Runs": "agree/test_rtl_load.py",
    "Sampler": "agree/test_rtl_sampler.py",
    "Sequencer": "rtl/sequencer_bench.py",
    "SpecialFunctions": "agree/test_rtl_sfu.py",
    "Store": "agree/test_rtl_store.py",
    "ValueScales": "rtl/test_vector_scales.py",
    "VectorLoad": "agree/test_rtl_vector.py",
    "VectorStore": "agree/test_rtl_vector.py",
    "VectorUnit": "agree/test_rtl_vector.py",
    "Weights": "agree/test_rtl_matrix.py",
}
"""Too large to be proved, or right only if more of their surroundings is: the tests that run them,
by themselves or within a larger one, with stalls."""


def nothing(_m, _component):
    """Surroundings that do what they want, within the rules of streams."""


def checked(name, component):
    return Surrounded(component, SURROUNDINGS.get(name, nothing))


def directions(name):
    """Of each stream whether its beats come in."""
    component = small(name)
    return [incoming for _, _, incoming in streams(component.signature, component)]


def test_every_component_with_streams_is_checked():
    known = [*PROVED, *PROVED_SLOWLY, *RECEIVE, *SIMULATED]
    assert len(set(known)) == len(known), "a component is in two lists"
    assert {name for name in classes() if directions(name)} == set(known)
    assert {name for name in known if all(directions(name))} == set(RECEIVE)


def test_what_is_simulated_has_tests():
    assert [name for name, test in SIMULATED.items() if not (TESTS / test).exists()] == []


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in PROVED_SLOWLY]


@pytest.mark.parametrize("name", [*PROVED, *SLOW])
def test_a_component_keeps_the_rules_of_streams(name):
    proof = prove(checked(name, small(name)), limit_s=300)
    sent = directions(name).count(False)
    assert sum(text.endswith("stays valid") for text in proof.assertions) == sent
    assert sum(text.endswith("keeps its payload") for text in proof.assertions) == sent


def takes_back(m, outer, inner):
    odd = Signal()
    m.d.sync += odd.eq(~odd)
    m.d.comb += outer.passes.valid.eq(inner.passes.valid & odd)


def follows(m, outer, inner):
    payload = inner.runs.payload.as_value()
    m.d.comb += outer.runs.payload.as_value().eq(payload ^ outer.segments.ready)


@pytest.mark.parametrize(("name", "fault", "broken"), [
    ("PassWalk", takes_back, "passes stays valid"),
    pytest.param("RunCutter", follows, "runs keeps its payload", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_component_that_breaks_a_rule_is_refuted(name, fault, broken):
    with pytest.raises(RefutedError, match=broken):
        prove(checked(name, Tampered(small(name), fault.__name__, fault)))
