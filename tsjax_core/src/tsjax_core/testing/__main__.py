"""Writes the contracts as Markdown: `python -m tsjax_core.testing DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsjax_core.testing.pages import pages


def main() -> None:
    """Write the pages to the directory that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tsjax_core.testing", description=__doc__)
    parser.add_argument("directory", type=Path, help="directory to write to; made if missing")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")
        print(directory / name)  # noqa: T201 - prints what it wrote


if __name__ == "__main__":
    main()
