"""Take one wait out of a program and ask the verifier; then run it all the same, in two orders."""

import sys
from dataclasses import replace
from pathlib import Path

from tapeout.chip import load_chip
from tapeout.compiler import verify
from tapeout.errors import CompileError
from tapeout.isa import Matmul, read_program, to_text


def main() -> None:
    """Print the instruction without its wait, and what the verifier says."""
    program = read_program(Path(sys.argv[1]))
    core = list(program.cores[0])
    at = next(i for i, one in enumerate(core) if isinstance(one.op, Matmul) and one.waits)
    core[at] = replace(core[at], waits=())
    print(to_text(core[at]))
    try:
        verify(
            replace(program, cores=(tuple(core), *program.cores[1:])), load_chip(Path(sys.argv[2]))
        )
    except CompileError as error:
        print(f"refused: {error.problem}\n  at: {error.where}")


if __name__ == "__main__":
    main()
