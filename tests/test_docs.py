"""The site: every public name is in the reference once, and links of a site lead somewhere."""

import doctest
import importlib.util
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
sys.path[:0] = [str(DOCS), str(DOCS / "_ext")]

import check_site  # noqa: E402
import public_api  # noqa: E402


@pytest.fixture(scope="module")
def pages():
    return public_api.pages()


def test_every_public_name_is_in_the_reference_once(pages):
    text = "\n".join(pages.values())
    documented = re.findall(r"^\.\. (?:auto(?:function|class)|py:data):: (\S+)", text, re.M)
    assert [name for name, count in Counter(documented).items() if count > 1] == []
    sections = re.split(r"^\.\. py:module:: (\S+)$", text, flags=re.M)
    also = dict(zip(sections[1::2], sections[2::2], strict=True))
    for module, names in public_api.public_modules().items():
        for name in names:
            here = documented.count(f"{module}.{name}")
            there = len(re.findall(rf"^- `{name} <\S+>`$", also[module], re.M))
            assert here + there == 1, f"{module}.{name} is in the reference {here + there} times"


def test_what_is_referred_to_is_documented(pages):
    text = "\n".join(pages.values())
    documented = set(re.findall(r"^\.\. (?:auto(?:function|class)|py:data):: (\S+)", text, re.M))
    modules = set(public_api.public_modules())
    for target in re.findall(r"^- `\w+ <(\S+)>`$", text, re.M):
        assert target in documented | modules


def test_a_module_with_public_names_is_public():
    for module, names in public_api.public_modules().items():
        assert len(set(names)) == len(names)
        for name in names:
            assert hasattr(importlib.import_module(module), name)


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">1</a><a href="c.html">2</a><a href="b.html#y">3</a>'
        '<a href="https://elsewhere.org">4</a><img src="https://elsewhere.org/p.png">'
    )
    (tmp_path / "b.html").write_text('<p id="x">x</p><a href="#x">x</a>')
    assert check_site.problems(tmp_path) == [
        "a.html: there is no c.html",
        "a.html: b.html#y has no such anchor",
        "a.html loads https://elsewhere.org/p.png",
    ]


def test_the_examples_of_the_extensions():
    pytest.importorskip("sphinx")
    assert doctest.testmod(importlib.import_module("docstrings")).failed == 0


def test_tutorials_are_listed():
    index = (DOCS / "tutorials" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(\w+)$", index, re.M))
    assert {path.stem for path in (DOCS / "tutorials").glob("*.md")} - {"index"} <= listed


def test_every_figure_of_the_gallery_has_a_command_a_runtime_and_a_conclusion():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.M)[1:]
    assert len(sections) > 20
    for section in sections:
        title, *_ = section.splitlines()
        found = re.search(r"`python -m (experiments\.\w+) \w+`, (.*)\.$", section, re.M)
        assert found is not None, title
        assert re.search(r"minute|second|hour", found[2]), title
        assert importlib.util.find_spec(found[1]) is not None, title
        assert re.search(r"\*\*[^*]+\.\*\*", section), title


@pytest.mark.slow
def test_no_page_of_the_site_scrolls_sideways_on_a_phone():
    site = DOCS / "_build" / "html"
    chromium = shutil.which("chromium")
    if not (site / "index.html").is_file() or chromium is None:
        pytest.skip("there is no built site (make docs), or no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        wide = []
        for path in sorted(site.rglob("*.html")):
            page.goto(path.as_uri())
            sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            scroll, client = page.evaluate(sizes)
            if scroll > client:
                wide.append(f"{path.relative_to(site)}: {scroll} > {client}")
        browser.close()
    assert wide == []
