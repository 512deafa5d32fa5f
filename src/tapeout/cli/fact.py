"""`tapeout fact`: list, show and check the figures that come from outside."""

from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="List, show and check sourced figures.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """Print a line for each figure."""
    from tapeout.facts import fact_lines, facts

    print(msgspec.json.encode(facts()).decode() if json else "\n".join(fact_lines()))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A figure, such as wafer_n2_usd.")],
    json: Json = False,
) -> None:
    """Print a figure with its range, date and source."""
    from tapeout.facts import fact, fact_text

    one = fact(name)
    print(msgspec.json.encode(one).decode() if json else fact_text(name, one))


@app.command()
def check(json: Json = False) -> None:
    """Check all figures; warn of old ones."""
    import datetime

    from tapeout.facts import check_facts

    count, warnings = check_facts(datetime.date.today())
    result = {"figures": count, "warnings": warnings}
    text = "\n".join([*(f"warning: {w}" for w in warnings), f"{count} figures: good"])
    print(msgspec.json.encode(result).decode() if json else text)
