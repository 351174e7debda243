"""A page stands alone, escapes what it is given, and shows one variant of each plot at a time."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from app.report.page import Figure, Grid, Notes, Page, html
from app.report.plots import Line, Lines

PLOT = Lines("Share <1>", "decision", "share", [1, 2], [Line("p", np.array([0.1, 0.5]), np.array([0.1, 0.1]))])
GRID = Grid(["policy", "reward <r>"], [["<b>", "0.5 ± 0.1"], ["random", "0"]], "notes & more", frozenset({1}))
_VOID = frozenset({"meta", "br", "hr"})


@pytest.fixture(scope="module")
def text() -> str:
    """A page with each kind of part."""
    parts: list[Grid | Figure | Notes] = [GRID, Figure(PLOT, "how to read it"), Notes("Said <2>", [("<u>", "a & b")])]
    return html(Page("A & B", "lead <i>", parts, [("columns", "1, <hour>")], "foot"))


class Tree(HTMLParser):
    """Fails at an end tag that closes another element than the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> list[tuple[str, dict[str, str | None]]]:
    tree = Tree()
    tree.feed(text)
    assert tree.open == []
    return tree.seen


def test_it_is_whole_and_stands_alone(text: str) -> None:
    """Every element is closed; no script, nothing that is loaded, and a policy that would forbid it."""
    seen = read(text)
    tags = {tag for tag, _ in seen}
    assert not tags & {"script", "link", "img", "iframe", "image", "object"}
    assert not [
        name for _, attributes in seen for name in attributes if name.startswith("on") or name in ("src", "href")
    ]
    assert not re.search(r"@import|@font-face|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'" in text


def test_what_it_is_given_is_text(text: str) -> None:
    """Markup in names and notes is shown as it is."""
    for shown in (
        "A &amp; B",
        "lead &lt;i&gt;",
        "&lt;b&gt;",
        "reward &lt;r&gt;",
        "notes &amp; more",
        "1, &lt;hour&gt;",
        "Share &lt;1&gt;",
        "<h2>Said &lt;2&gt;</h2>",
        "<li><strong>&lt;u&gt;</strong> a &amp; b</li>",
    ):
        assert shown in text
    assert "<b>" not in text


def test_cells(text: str) -> None:
    """An error stands back behind its value, and rows to compare with do."""
    assert "<td>0.5 <small>± 0.1</small></td>" in text
    assert '<tr class="faint"><td>random</td>' in text


def test_one_variant_is_shown_at_a_time(text: str) -> None:
    """On a screen of any width and theme, and on paper, the rules of the page leave exactly one of four visible."""
    assert len(re.findall(r'<div class="(?:light|dark) (?:wide|narrow)" role="img" aria-label="[^"]+"><svg', text)) == 4
    style = text.partition("<style>")[2].partition("</style>")[0]
    for narrow in (False, True):
        for dark in (False, True):
            assert _visible(style, narrow=narrow, dark=dark, screen=True) == [
                ("dark" if dark else "light", "narrow" if narrow else "wide")
            ]
            assert _visible(style, narrow=narrow, dark=dark, screen=False) == [("light", "wide")]


def _visible(style: str, *, narrow: bool, dark: bool, screen: bool) -> list[tuple[str, str]]:
    """The variants that a browser would show: of the rules that match one, the last of the most specific wins."""
    rules = [("", rule) for rule in re.findall(r"^(figure \.[^{]*\{[^}]*\})", style, re.MULTILINE)]
    for media, body in re.findall(r"@media ([^{]+)\{((?:[^{}]*\{[^}]*\})*)\s*\}", style):
        rules += [(media, rule) for rule in re.findall(r"[^{}]*\{[^}]*\}", body)]
    shown = {(theme, width): (0, "block") for theme in ("light", "dark") for width in ("wide", "narrow")}
    for media, rule in rules:
        holds = [
            screen if "screen" in media else True,
            not screen if "print" in media else True,
            narrow if "max-width" in media else True,
            dark if "dark" in media else True,
        ]
        display = re.search(r"display: (\w+)", rule)
        if not all(holds) or display is None:
            continue
        for selector in rule.partition("{")[0].split(","):
            classes = re.fullmatch(r"\s*figure \.(\w+)(?:\.(\w+))?\s*", selector)
            if classes is None:
                continue
            wanted = {name for name in classes.groups() if name}
            for variant, (before, _) in shown.items():
                if wanted <= set(variant) and len(wanted) >= before:
                    shown[variant] = (len(wanted), display[1])
    return [variant for variant, (_, display) in shown.items() if display == "block"]
