"""Write the source of the documentation site into docs/generated/, ready for Zensical.

The README becomes the front page, the guides are copied, and each family of the zoo gets a page
made of its docstrings: nothing about a technique is written twice. Equations become MathML, which
browsers draw by themselves, so the site runs no script and asks nothing of other machines.
"""

import ast
import re
import shutil
from collections.abc import Iterable
from html import escape
from pathlib import Path

from latex2mathml.converter import convert

from neurarium import _source, zoo

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = DOCS / "generated"

_CODE_OR_MATH = re.compile(
    r"(?P<code>`[^`]*`)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$]+)\$", re.S
)
_SECTION = re.compile(r"^(Args|Raises|Returns|Yields|Shape|Example|Examples):\s*$", re.M)
_FUNCTION = re.compile(r"<mi>[a-z]{3,}</mi>(?=<m[in]>)")
_ENTRY = re.compile(r"^ {4}(\*{0,2}[\w.]+(?: \([^)]*\))?):\s", re.M)


def main() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(DOCS, SITE, ignore=shutil.ignore_patterns("generated", "*.py", "__pycache__"))
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    write("index.md", re.sub(r"\]\(([A-Z]+)\.md\)", lambda m: f"]({m[1].lower()}.md)", readme))
    for name in ("CHANGELOG", "CONTRIBUTING"):
        write(f"{name.lower()}.md", (ROOT / f"{name}.md").read_text())
    catalogue = zoo.techniques()
    for module, title in zoo.FAMILIES.items():
        if members := [t for t in catalogue if t.module == module]:
            write(f"zoo/{slug(module)}.md", family_page(module, title, members))
    write("zoo/index.md", index_page(catalogue))
    write("recipes.md", recipes_page(zoo.recipes()))
    check_navigation()


def write(name: str, text: str) -> None:
    path = SITE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def check_navigation() -> None:
    """Every page is in the menu of mkdocs.yml, and every entry of the menu has its page."""
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    written = {str(path.relative_to(SITE)) for path in SITE.rglob("*.md")}
    if listed != written:
        raise SystemExit(
            f"nav of mkdocs.yml lacks {sorted(written - listed)} "
            f"and lists {sorted(listed - written)}, which docs/generate.py did not write"
        )


def slug(module: str) -> str:
    return module.replace(".", "-").replace("_", "-")


# Pages -------------------------------------------------------------------------------------------


def index_page(catalogue: Iterable[zoo.Technique]) -> str:
    pages: dict[str, list[zoo.Technique]] = {}
    for technique in catalogue:
        pages.setdefault(technique.module, []).append(technique)
    lines = [
        "# The zoo\n\nEvery public technique, from its own docstring; "
        "`neurarium zoo` prints the same list.\n"
    ]
    for module, members in pages.items():
        lines.append(f"## {zoo.FAMILIES[module]}\n\n" + member_list(members, f"{slug(module)}.md"))
    return "\n".join(lines)


def family_page(module: str, title: str, members: list[zoo.Technique]) -> str:
    file = _source.module_file(ROOT / "src" / "neurarium", module)
    assert file is not None  # its members were read from it
    introduction = (ast.get_docstring(file.tree) or "").strip()
    parts = [f"# {title}", prose(introduction), f"`neurarium.{module}`", member_list(members, "")]
    return "\n\n".join([*parts, *map(technique_section, members)]) + "\n"


def member_list(members: list[zoo.Technique], page: str) -> str:
    items = (f"- [`{t.name}`]({page}#{t.name}): {prose(t.summary)}" for t in members)
    return "\n".join(items) + "\n"


def technique_section(technique: zoo.Technique) -> str:
    used = ", ".join(f"[{name}](../recipes.md#{name})" for name in technique.recipe)
    parts = [
        f"## {technique.name} {{ #{technique.name} }}",
        fenced(wrapped(technique.signature)),
        docstring(technique.docstring),
        f"**Recipe:** {used}" if used else "",
        folded(f"Code: {technique.file}", technique.code),
    ]
    return "\n\n".join(part for part in parts if part)


def recipes_page(recipes: list[zoo.Recipe]) -> str:
    lines = [
        "# Recipes\n\nEach reproduces a published figure: `neurarium reproduce NAME --seeds 3` "
        "prints ours beside it.\n",
        "| recipe | source | figure | published | holds if | minutes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in recipes:
        cells = (f"[{r.name}](#{r.name})", r.source, r.figure, said(r.published))
        lines.append(f"| {' | '.join(cells)} | {bounds(r.expect)} | {said(r.minutes)} |")
    for r in recipes:
        lines.append(f"\n## {r.name} {{ #{r.name} }}\n\n{docstring(r.docstring)}\n")
        lines.append(folded(f"Code: {r.file}", r.code))
    return "\n".join(lines) + "\n"


def said(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def bounds(expect: tuple[float | None, float | None] | None) -> str:
    low, high = expect or (None, None)
    limits = ((sign, limit) for sign, limit in (("≥", low), ("≤", high)) if limit is not None)
    return " and ".join(f"{sign} {limit:g}" for sign, limit in limits)


# Docstring -> Markdown ---------------------------------------------------------------------------


def docstring(text: str) -> str:
    """Prose, then each section under a bold name, then the source."""
    text = text.replace("Source:", "\n\n**Source:**", 1)
    pieces = _SECTION.split(text)
    parts = [prose(pieces[0])]
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        inside, _, after = body.strip("\n").partition("\n\n")
        parts += [f"**{name}**", section(name, inside), prose(after)]
    return "\n\n".join(part.strip() for part in parts)


def section(name: str, body: str) -> str:
    if name.startswith("Example"):
        return fenced("\n".join(line.removeprefix("    ") for line in body.splitlines()))
    return prose("\n".join(line.strip() for line in _ENTRY.sub(r"- `\1`: ", body).splitlines()))


def prose(text: str) -> str:
    """Markdown with its equations as MathML; whatever stands between backticks is left alone."""
    return _CODE_OR_MATH.sub(_mathml, text)


def _mathml(match: re.Match[str]) -> str:
    if match["code"]:
        return match["code"]
    if match["display"]:
        return f'\n\n<div class="equation">{mathml(match["display"], "block")}</div>\n\n'
    return f'<span class="inline-equation">{mathml(match["inline"], "inline")}</span>'


def mathml(latex: str, display: str) -> str:
    markup = convert(" ".join(latex.split()), display=display)
    # latex2mathml sets no space between a named function and its argument: "log c", not "logc".
    markup = _FUNCTION.sub(r'\g<0><mspace width="0.17em" />', markup)
    # Markdown would read these as emphasis, code or links.
    return re.sub(r"[*_`\[\]\\|]", lambda sign: f"&#{ord(sign[0])};", markup)


def fenced(code: str, indent: str = "") -> str:
    return "\n".join(indent + line for line in ["```python", *code.splitlines(), "```"])


def wrapped(signature: str) -> str:
    """A long signature with one argument a line."""
    if len(signature) <= 88:
        return signature
    function = ast.parse(f"def {signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    inside = [f"    {argument}," for argument in _source.arguments(function.args)]
    return "\n".join([f"{function.name}(", *inside, f"){returns}"])


def folded(title: str, code: str) -> str:
    return f'??? quote "{escape(title)}"\n\n{fenced(code, "    ")}\n'


if __name__ == "__main__":
    main()
