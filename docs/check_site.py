"""Checks a built site without a network: every internal link and anchor leads somewhere.

    python docs/check_site.py docs/_build/html

Nothing that a page needs may come from elsewhere: scripts, styles and pictures are local.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page defines and what it needs.

    Attributes:
        anchors: Ids of its elements.
        links: Targets of its links.
        parts: Scripts, styles and pictures.
    """

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the attributes that matter."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("script", "img") and values.get("src"):
            self.parts.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.parts.append(values.get("href", ""))


def problems(site: Path) -> list[str]:
    """Every dead link and everything that is loaded from elsewhere, in words.

    Args:
        site: Folder of the built site.
    """
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    found = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve())
        for target in page.links + page.parts:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.parts and parts.scheme != "data":
                    found.append(f"{name} loads {target}")
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not goal.is_file():
                found.append(f"{name}: there is no {target}")
            elif anchor and goal in pages and anchor not in pages[goal].anchors:
                found.append(f"{name}: {target} has no such anchor")
    if not pages:
        found.append(f"{site} has no pages")
    return found


def main() -> None:
    """Says what is wrong and ends with 1 if anything is."""
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "all links lead somewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
