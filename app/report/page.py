"""A page of HTML that stands alone: no script, no font, no address; light and dark, on a phone and on paper."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec

from app.report.plots import Plot, svg

__all__ = ["Figure", "Grid", "Notes", "Page", "html"]


class Grid(msgspec.Struct, frozen=True):
    """A table. The first column is of names, the others are of numbers; rows in `faint` are there to compare with."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str
    faint: frozenset[int] = frozenset()


class Figure(msgspec.Struct, frozen=True):
    """A plot and the sentences that say how to read it."""

    plot: Plot
    notes: str


class Notes(msgspec.Struct, frozen=True):
    """A heading, and sentences below it, each with what it is about."""

    title: str
    items: Sequence[tuple[str, str]]


class Page(msgspec.Struct, frozen=True):
    """A title, the sentences below it, and the parts in order; `details` are texts to fold away, with their titles."""

    title: str
    lead: str
    parts: Sequence[Grid | Figure | Notes]
    details: Sequence[tuple[str, str]]
    foot: str


_STYLE: Final = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f7f8fa; --ink: #1d2433; --soft: #5b6577; --rule: #dfe3ea;
  --mark: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --card: #1b1f27; --ink: #e6e9ef; --soft: #a0a9b8;
  --rule: #303744; --mark: #5cb3f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; text-wrap: balance; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; }
p { margin: 0 0 1rem; max-width: 42rem; }
ul { margin: .5rem 0 1rem; padding-left: 1.2rem; max-width: 42rem; }
li { margin-bottom: .4rem; }
.soft, figcaption, footer, summary { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr:first-child { font-weight: 600; }
tbody tr.faint { color: var(--soft); }
td small { color: var(--soft); font-weight: 400; font-size: .85em; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { margin-top: .25rem; max-width: 42rem; }
figure .dark, figure .narrow { display: none; }
@media screen and (prefers-color-scheme: dark) {
  figure .light.wide { display: none; } figure .dark.wide { display: block; } }
@media screen and (max-width: 34rem) {
  main { padding: 1.5rem 1rem 2rem; }
  figure .wide, figure .dark.wide { display: none; } figure .light.narrow { display: block; } }
@media screen and (max-width: 34rem) and (prefers-color-scheme: dark) {
  figure .light.narrow { display: none; } figure .dark.narrow { display: block; } }
details { border-top: 1px solid var(--rule); padding: .75rem 0; }
details + details { margin-top: 0; }
summary { cursor: pointer; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; padding: .9rem 1rem;
  overflow-x: auto; font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { border-top: 1px solid var(--rule); margin-top: 2.5rem; padding-top: 1rem; overflow-wrap: anywhere; }
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #bbb; }
  main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; } }
"""
# Nothing may be loaded, and no script may run, even if a name in the page had markup in it.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def html(page: Page) -> str:
    """The page as text."""
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="soft">{escape(page.lead)}</p>',
    ]
    for part in page.parts:
        lines += _part(part)
    if page.details:
        lines.append("<h2>Details</h2>")
    for title, text in page.details:
        lines.append(f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>")
    lines += [f"<footer>{escape(page.foot)}</footer>", "</main>", "</body>", "</html>"]
    return "\n".join(lines) + "\n"


def _part(part: Grid | Figure | Notes) -> Iterable[str]:
    if isinstance(part, Grid):
        return _grid(part)
    return _figure(part) if isinstance(part, Figure) else _notes(part)


def _notes(notes: Notes) -> Iterable[str]:
    yield f"<h2>{escape(notes.title)}</h2>"
    yield "<ul>"
    for about, text in notes.items:
        yield f"<li><strong>{escape(about)}</strong> {escape(text)}</li>"
    yield "</ul>"


def _grid(grid: Grid) -> Iterable[str]:
    yield '<div class="scroll"><table>'
    yield "<thead><tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in grid.header) + "</tr></thead>"
    yield "<tbody>"
    for place, row in enumerate(grid.rows):
        kind = ' class="faint"' if place in grid.faint else ""
        yield f"<tr{kind}>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"
    yield f'<p class="soft">{escape(grid.notes)}</p>'


def _cell(text: str) -> str:
    """A cell whose part after ± stands back."""
    value, sign, error = escape(text).partition(" ± ")
    return f"{value} <small>± {error}</small>" if sign else value


def _figure(figure: Figure) -> Iterable[str]:
    yield f"<h2>{escape(figure.plot.title)}</h2>"
    yield "<figure>"
    for (theme, width), drawn in svg(figure.plot).items():
        label = escape(f"{figure.plot.title}: {figure.plot.y} by {figure.plot.x}")
        yield f'<div class="{theme} {width}" role="img" aria-label="{label}">{drawn}</div>'
    yield f"<figcaption>{escape(figure.notes)}</figcaption>"
    yield "</figure>"
