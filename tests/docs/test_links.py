"""Links of the pages as they are read in the repository; the site's own are checked when it is built."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/**/*.md", "src/mftn/engines/weights/*.md", "weights/**/*.md")
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def test_every_relative_link_leads_somewhere() -> None:
    pages = [path for place in PLACES for path in ROOT.glob(place)]
    for page in pages:
        for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            path = page.parent / target if target else page
            assert path.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors(path), f"{page}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors that a hosting site makes of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
