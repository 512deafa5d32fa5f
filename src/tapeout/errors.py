"""Every error a user can cause. Anything else that escapes is a bug in tapeout."""


class TapeoutError(Exception):
    """A mistake in the user's input.

    Shown without a traceback; the CLI exits with status 2.
    """

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where:
            lines.append(f"  at:   {self.where}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ConfigError(TapeoutError):
    """A chip, model, workload or constitution file is malformed or inconsistent."""


class ModelError(TapeoutError):
    """A checkpoint is damaged, or is of an architecture that tapeout does not know."""


class EncodingError(TapeoutError):
    """An instruction does not fit its encoding, or a word or file is no program."""


class CompileError(TapeoutError):
    """A model cannot be turned into a program, or a program breaks a rule of the verifier."""


class CapacityError(TapeoutError):
    """A model, a context or a batch does not fit the chip."""


class TrapError(TapeoutError):
    """The machine stopped: a program did what the instruction set forbids."""


class ToolMissingError(TapeoutError):
    """A program or package that a command needs is not installed."""
