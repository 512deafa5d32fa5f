"""The command line: `tapeout <noun> <verb>`. One file per noun; no logic lives here."""

import sys

import typer

from tapeout.cli import chip, cost, fact, generate, model, program, report, rtl
from tapeout.errors import TapeoutError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(chip.app, name="chip")
app.add_typer(model.app, name="model")
app.add_typer(program.app, name="program")
app.add_typer(rtl.app, name="rtl")
app.add_typer(cost.app, name="cost")
app.add_typer(fact.app, name="fact")
app.add_typer(report.app, name="report")
app.command("generate")(generate.generate)


def main() -> None:
    """Run a command. A user's mistake prints three lines and exits 2; a bug keeps its traceback."""
    try:
        app()
    except TapeoutError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
