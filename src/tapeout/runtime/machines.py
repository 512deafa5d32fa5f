"""What a program runs on: the simulator, or the chip's RTL."""

from typing import TYPE_CHECKING, Literal, TypeAlias

from tapeout.chip import Chip
from tapeout.errors import ToolMissingError
from tapeout.sim import Machine

if TYPE_CHECKING:
    from tapeout.rtl.machine import RtlMachine

Place: TypeAlias = Literal["sim", "rtl"]
AnyMachine: TypeAlias = "Machine | RtlMachine"


def open_machine(place: Place, chip: Chip, hbm_bytes: int) -> AnyMachine:
    """A machine with empty memory: both kinds compute the same bits.

    Raises:
        ToolMissingError: if the RTL's tools are not installed.
    """
    if place == "sim":
        return Machine(chip, hbm_bytes)
    try:
        from tapeout.rtl.machine import RtlMachine
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"running on RTL needs {error.name}, which is not installed",
            hint="pip install 'tapeout[rtl]'",
        ) from None
    return RtlMachine(chip, hbm_bytes)
