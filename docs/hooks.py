"""What the site has beside the pages in this folder: the README of each plugin, with its links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each plugin, made of its README and, where there is one, its figure."""
    for folder in sorted((ROOT / "plugins").iterdir()):
        readme = folder / "README.md"
        if readme.is_file():
            short = folder.name.removeprefix("tsjax_")
            text = _link_pages(readme.read_text(encoding="utf-8"), "..")
            if (ROOT / "docs" / "figures" / f"{short}.png").is_file():
                title, _, rest = text.partition("\n")
                figure = f"![A result of tsjax-{short}](../figures/{short}.png)"
                text = f"{title}\n\n{figure}\n{rest}"
            files.append(File.generated(config, f"plugins/{short}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page with links that lead within the site."""
    if page.file.src_uri.startswith("plugins/"):
        return markdown
    depth = page.file.src_uri.count("/")
    return _link_pages(markdown, "/".join([".."] * depth) or ".")


def _link_pages(text: str, up: str) -> str:
    """Return a text whose links into the repository lead to pages of the site."""
    text = re.sub(
        r"\]\((?:\.\./)*plugins/tsjax_(\w+)/README\.md(#[\w-]+)?\)",
        rf"]({up}/plugins/\1.md\2)",
        text,
    )
    text = re.sub(r"\]\(\.\./tsjax_(\w+)/README\.md(#[\w-]+)?\)", rf"]({up}/plugins/\1.md\2)", text)
    text = re.sub(r"\]\((?:\.\./)+docs/([\w/-]+\.md)(#[\w-]+)?\)", rf"]({up}/\1\2)", text)
    return re.sub(r"\]\((?:\.\./)*tsjax_core/src/[\w/]+\.py\)", rf"]({up}/reference/core.md)", text)
