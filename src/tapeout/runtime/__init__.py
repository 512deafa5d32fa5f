"""The runtime: models on the simulated chip, from a prompt to text that a critic has cleared.

In:  checkpoints, a chip, a prompt and sampling; a critic's checkpoint and a constitution.
Out: tokens and text as they come, the log of verdicts and its audit; bits per byte. A request's
     tokens never depend on the batch, the chunks, the chip or the order of the machine's steps.
"""

from tapeout.runtime.audit import Audit, audit
from tapeout.runtime.constitution import Constitution, Principle, load_constitution
from tapeout.runtime.critic import Critic
from tapeout.runtime.critique import CheckedEvent, Finished, Held, Policy, critique
from tapeout.runtime.device import GREEDY, Choice, Device, Row, Sampling
from tapeout.runtime.engine import Ended, Request, Token, generate
from tapeout.runtime.hold import Hold, Released
from tapeout.runtime.quality import (
    Quality,
    Window,
    bits_per_byte,
    quality,
    quality_lines,
    windows_of,
)
from tapeout.runtime.session import (
    Event,
    Job,
    Result,
    Session,
    open_device,
    open_session,
    run,
    text_of,
)
from tapeout.runtime.verdict import Verdict

__all__ = [
    "GREEDY",
    "Audit",
    "CheckedEvent",
    "Choice",
    "Constitution",
    "Critic",
    "Device",
    "Ended",
    "Event",
    "Finished",
    "Held",
    "Hold",
    "Job",
    "Policy",
    "Principle",
    "Quality",
    "Released",
    "Request",
    "Result",
    "Row",
    "Sampling",
    "Session",
    "Token",
    "Verdict",
    "Window",
    "audit",
    "bits_per_byte",
    "critique",
    "generate",
    "load_constitution",
    "open_device",
    "open_session",
    "quality",
    "quality_lines",
    "run",
    "text_of",
    "windows_of",
]
