"""`tapeout report`: results as one HTML file."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="Turn results into one HTML file.", no_args_is_help=True)


@app.command()
def build(
    results: Annotated[Path, typer.Argument(help="Results, as `make demo` leaves them.")] = Path(
        "out/demo.json"
    ),
    output: Annotated[Path, typer.Option("-o", help="The file to write.")] = Path(
        "out/report.html"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a page with the text, the chips, time, bytes, dollars and every source."""
    from tapeout.report import read_results, report_page, write_whole

    page = report_page(read_results(results))
    write_whole(output, page)
    result = {"file": str(output), "bytes": len(page.encode())}
    print(msgspec.json.encode(result).decode() if json else f"{output}: {result['bytes']} bytes")
