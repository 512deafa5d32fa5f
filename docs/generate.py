"""Write the pages and pictures that are made from the code; `--check` only compares them."""

import sys
from pathlib import Path

from tapeout.facts import figures_page
from tapeout.isa import isa_page
from tapeout.numerics import numerics_page

DOCS = Path(__file__).parent
PAGES = {
    "figures.md": figures_page,
    "isa.md": isa_page,
    "numerics.md": numerics_page,
}


def main(check: bool) -> int:
    """Write every page, or print the names of those that differ and return 1."""
    old: list[str] = []
    for name, page in PAGES.items():
        text, path = page(), DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            old.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and old:
        print(f"docs/{', docs/'.join(old)} differ from the code: run `make docs`", file=sys.stderr)
        return 1
    print(f"docs: {len(PAGES)} pages from the code, {len(old)} of them changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
