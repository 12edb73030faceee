"""HTML: elements whose text is escaped, and the page around them."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Html(str):
    """Markup that is ready; any other string is escaped where it enters the page."""

    __slots__ = ()


def text(value: object) -> Html:
    """The value as text of the page."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(*parts: object, by: str = "") -> Html:
    """The parts one after another, without those that are None."""
    return Html(by.join(text(part) for part in parts if part is not None))


def element(name: str, *children: object, **attributes: object) -> Html:
    """One element; `class_` is written `class`, an attribute that is None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def section(title: str, *children: object) -> Html:
    """A titled part of the page."""
    return element("section", element("h2", title), *children)


def paragraph(*parts: object, class_: str | None = None) -> Html:
    """One paragraph; the parts follow each other without spaces."""
    return element("p", *parts, class_=class_)


def table(
    caption: object, headers: Sequence[object], rows: Iterable[Sequence[object]], class_: str = ""
) -> Html:
    """A table with column headers; the first cell of each row heads the row."""
    head = element("tr", *(element("th", h, scope="col") for h in headers))
    body = (
        element("tr", element("th", first, scope="row"), *map(_cell, rest)) for first, *rest in rows
    )
    whole = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *body),
        class_=class_ or None,
    )
    # A wide table scrolls by itself, so that the page keeps a phone's width.
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(value: object) -> Html:
    if isinstance(value, Html) and value.startswith("<td"):
        return value
    numeric = isinstance(value, int | float | np.number)
    return element("td", number(value) if numeric else value, class_="number" if numeric else None)


def number(value: Any) -> str:
    """A number for reading: whole ones with commas, others with four significant digits."""
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if not np.isfinite(value):
        return "–"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def percent(value: float) -> str:
    """A share as a percentage, its sign on the same line."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def page(title: str, *sections: object) -> str:
    """The whole document; it asks for nothing from outside."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # No script, no frame, no request: whatever a data set's text holds, it stays text.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{join(*sections, by=chr(10))}\n</main>\n</body>\n</html>\n"
    )


CSS = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5b6475; --line: #d9dde5;
  --paper: #fff; --card: #f5f7fa; --blue: #2f6fbb; --orange: #c96a12; --right: 47 111 187;
  --wrong: 201 106 18; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --soft: #9aa5b8; --line: #343c4a;
  --paper: #12161d; --card: #1b212b; --blue: #6ea8ec; --orange: #eb9a4a; --right: 90 150 225;
  --wrong: 225 140 60; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .6rem 0; max-width: 44rem; }
.soft, caption, figcaption { color: var(--soft); font-size: .875rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.25rem 0 .75rem; }
.headline div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .9rem 1.1rem; flex: 1 1 12rem; }
.headline .main { border-color: var(--blue); }
.headline strong { display: block; font-size: 1.9rem; line-height: 1.25; font-weight: 650; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th[scope=row] { font-weight: 500; max-width: 22rem; overflow-wrap: break-word; }
td { max-width: 24rem; overflow-wrap: break-word; }
.number, .confusion td, .confusion th[scope=col] { text-align: right; white-space: nowrap; }
.confusion td, .confusion th { padding: .25rem .5rem; }
.bar { min-width: 8rem; vertical-align: middle; }
.bar i { display: block; height: .7rem; border-radius: .2rem; background: var(--blue); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
  gap: 1rem 1.5rem; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; max-width: 25rem; display: block; }
.large figure svg { max-width: 38rem; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: inherit !important; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr));
  gap: 1rem; }
.pictures img { width: 100%; image-rendering: pixelated; display: block; border-radius: .3rem; }
.pictures figcaption { line-height: 1.35; margin-top: .3rem; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem .9rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .9em;
  white-space: nowrap; }
ul { padding-left: 1.2rem; max-width: 46rem; }
@media (max-width: 30rem) { main { padding: 1rem .9rem 3rem; } th, td { padding: .3rem .45rem; } }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } figure, tr, .headline div { break-inside: avoid; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
