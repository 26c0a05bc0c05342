"""One self-contained HTML page: text, tables, and figures that are written beside it too."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tsjax_core.directories import named_in_errors, replaced_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  margin: 0 auto; padding: 1rem; max-width: 62rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2rem;
  border-bottom: 1px solid #ccc; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; padding: 0; list-style: none; }
a { color: #0057a3; } a:focus-visible, .wide:focus-visible { outline: 3px solid #d55e00; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }
th { font-weight: 600; } th[scope=row], .text { text-align: left; }
thead th { border-bottom: 2px solid #888; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: 0.9rem; }
ul.findings li { margin: 0.3rem 0; }
pre { overflow-x: auto; background: #f4f4f4; padding: 0.8rem; }
"""


_TEXT = ' class="text"'


class Page:
    """A page that grows section by section.

    Args:
        title: What stands above it.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._figures: list[tuple[str, bytes]] = []

    def begin_section(self, title: str) -> None:
        """Begin a section, which the list at the top of the page leads to."""
        anchor = f"section-{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        self._parts.append(f'<h2 id="{anchor}">{escape(title)}</h2>')

    def add_text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def reserve_place(self) -> int:
        """Return a place for findings that are known later."""
        self._parts.append("")
        return len(self._parts) - 1

    def add_findings(self, sentences: Sequence[str], place: int) -> None:
        """Add a list of sentences at a place that was reserved."""
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        self._parts[place] = f'<ul class="findings">{items}</ul>'

    def add_table(
        self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Add a table; the first cell of each row names it."""
        texts = [
            number == 0 or any(_is_text(row[number]) for row in rows)
            for number in range(len(columns))
        ]
        head = "".join(
            f'<th scope="col"{_TEXT if is_text else ""}>{escape(name)}</th>'
            for name, is_text in zip(columns, texts, strict=True)
        )
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(
                f"<td{_TEXT if is_text else ''}>{escape(cell)}</td>"
                for cell, is_text in zip(row[1:], texts[1:], strict=True)
            )
            + "</tr>"
            for row in rows
        )
        self._parts.append(
            f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
            f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def add_figure(self, name: str, figure: Figure, caption: str) -> None:
        """Add a figure, which is also written beside the page as `name`.png."""
        stream = BytesIO()
        figure.savefig(stream, format="png")
        taken = {each for each, _ in self._figures}
        number, unique = 2, name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        data = stream.getvalue()
        self._figures.append((unique, data))
        text = escape(caption)
        encoded = base64.b64encode(data).decode("ascii")
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{encoded}" alt="{text}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def add_source(self, title: str, text: str) -> None:
        """Add a text as it is, folded."""
        self._parts.append(
            f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
        )

    def to_html(self) -> str:
        """Return the whole page."""
        links = "".join(
            f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title in self._sections
        )
        title = escape(self.title)
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            # Browsers ask for an icon where a page names none.
            f'<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head>'
            f'<body><h1>{title}</h1><nav aria-label="Sections"><ul>{links}</ul></nav><main>'
            + "\n".join(self._parts)
            + "</main></body></html>\n"
        )

    def write(self, folder: Path, name: str = "report.html") -> Path:
        """Write page and figures into the directory `folder`, and return the path of the page."""
        folder.mkdir(parents=True, exist_ok=True)
        for figure, data in self._figures:
            file = folder / f"{figure}.png"
            with named_in_errors(file):
                file.write_bytes(data)
        page = folder / name
        with replaced_file(page) as fresh:
            fresh.write_text(self.to_html(), encoding="utf-8")
        return page


def _is_text(cell: str) -> bool:
    """Return whether a cell is no number, with or without a unit."""
    try:
        float(cell.partition(" ")[0])
    except ValueError:
        return bool(cell)
    return False
