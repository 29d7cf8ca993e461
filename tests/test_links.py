"""Every link and picture of README and docs leads to a file, and to a heading, that exist."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from written_commands import PAGES, ROOT, tokens

OUTSIDE = ("http", "https", "mailto")


def links(page: Path) -> Iterator[str]:
    """Targets of links and pictures."""
    for token in tokens(page.read_text()):
        if token.type in ("link_open", "image"):
            yield str(token.attrs.get("href") or token.attrs.get("src"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    everything = list(tokens(page.read_text()))
    titles = [
        title.content for title, head in zip(everything[1:], everything, strict=False) if head.type == "heading_open"
    ]
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()) for title in titles]
    seen: Counter[str] = Counter()
    names = set()
    for name in (title.replace(" ", "-") for title in plain):
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def problem(page: Path, target: str) -> str:
    """Why a link leads nowhere; empty if it leads somewhere. Addresses of the web are not asked."""
    parts = urlsplit(target)
    if parts.scheme:
        return "" if parts.scheme in OUTSIDE else f"an address of scheme {parts.scheme}"
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not file.exists():
        return "no such file"
    if not file.is_relative_to(ROOT):
        return "outside the repository"
    if parts.fragment and (file.suffix != ".md" or parts.fragment not in anchors(file)):
        return f"no heading #{parts.fragment}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    problems = {target: problem(page, target) for target in links(page)}
    assert {target: why for target, why in problems.items() if why} == {}


def test_a_link_that_leads_nowhere_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One: `two` & three\n\n# One\n\n# One\n")
    assert anchors(tmp_path / "a.md") == {"one-two--three", "one", "one-1"}
    readme = ROOT / "README.md"
    assert problem(readme, "docs/gone.md") == "no such file"
    assert problem(readme, "docs/serving.md#gone") == "no heading #gone"
    assert problem(readme, "docs/serving.md#requests") == ""
    assert problem(readme, "file:///etc/passwd") == "an address of scheme file"
    assert problem(readme, "..") == "outside the repository"


def test_the_pages_have_links() -> None:
    assert sum(len(list(links(page))) for page in PAGES) > 20
