"""Source files as syntax trees: what a module makes public, where it is defined, how it is called.

Nothing is imported, so reading the whole package takes a tenth of a second and needs no torch.
"""

import ast
from functools import cache, cached_property
from pathlib import Path


class File:
    """One parsed source file."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text, str(path))

    @cached_property
    def bindings(self) -> dict[str, ast.stmt]:
        """Top-level statement that gives each name its meaning."""
        found: dict[str, ast.stmt] = {}
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.ImportFrom):
                found.update((alias.asname or alias.name, node) for alias in node.names)
            else:
                found.update((target, node) for target in _targets(node))
        return found

    @cached_property
    def public(self) -> list[str]:
        """The names in `__all__`, a plain list; without one, all definitions without underscore."""
        node = self.bindings.get("__all__")
        if isinstance(node, ast.Assign):
            return list(ast.literal_eval(node.value))
        defined = (n for n in self.tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))
        return [n.name for n in defined if not n.name.startswith("_")]

    def code(self, node: ast.stmt) -> str:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self.text.splitlines()[first - 1 : node.end_lineno])

    def docstring(self, node: ast.stmt) -> str:
        """The docstring of a definition; of a value, the string literal on the line below it."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return ast.get_docstring(node) or ""
        below = self.tree.body[self.tree.body.index(node) + 1 :][:1]
        if below and isinstance(below[0], ast.Expr) and isinstance(below[0].value, ast.Constant):
            return str(below[0].value.value)
        return ""


@cache
def module_file(root: Path, module: str) -> File | None:
    """The file of `module`, dotted and relative to the package; None if there is none."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return File(root, path)
    return None


def definition(root: Path, file: File, name: str) -> tuple[File, ast.stmt]:
    """Where `name`, public in `file`, is defined, through any chain of re-exports."""
    node = file.bindings.get(name)
    if node is None:
        raise ValueError(f"{file.path} lists {name!r} in `__all__` but does not define it")
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neurarium."):
        original = next(a.name for a in node.names if name in (a.asname, a.name))
        home = module_file(root, str(node.module).removeprefix("neurarium."))
        if home is None:
            raise ValueError(f"{file.path} imports {name!r} from {node.module}, which has no file")
        return definition(root, home, original)
    return file, node


def _targets(node: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [t.id for t in targets if isinstance(t, ast.Name)]


def kind(node: ast.stmt) -> str:
    return {ast.FunctionDef: "function", ast.ClassDef: "class"}.get(type(node), "value")


def signature(file: File, node: ast.stmt, name: str) -> str:
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{name}({', '.join(arguments(node.args))}){returns}"
    if isinstance(node, ast.ClassDef):
        return f"{name}({_constructor(file, node)})"
    return name


def _constructor(file: File, node: ast.ClassDef) -> str:
    """Arguments of the class's constructor, its own or the nearest base's in the same file."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return ", ".join(arguments(item.args)[1:])  # without self
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        fields = (ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign))
        return ", ".join(fields)
    for base in node.bases:
        parent = file.bindings.get(ast.unparse(base))
        if isinstance(parent, ast.ClassDef):
            return _constructor(file, parent)
    return ""


def arguments(node: ast.arguments) -> list[str]:
    """Each argument as it is written in house style, the bare `*` included."""
    positional = node.posonlyargs + node.args
    bare = [None] * (len(positional) - len(node.defaults))
    said = [_argument(*pair) for pair in zip(positional, [*bare, *node.defaults], strict=True)]
    if node.vararg:
        said.append("*" + _argument(node.vararg, None))
    elif node.kwonlyargs:
        said.append("*")
    said += [_argument(*pair) for pair in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    return [*said, "**" + _argument(node.kwarg, None)] if node.kwarg else said


def _argument(node: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if node.annotation else "="
    return ast.unparse(node) + (equals + ast.unparse(default) if default else "")
