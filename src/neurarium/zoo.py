"""The catalogue: every public technique and recipe, read from the package's own source.

Nothing is imported, only parsed, so that `neurarium zoo` answers before torch could have loaded.
A technique is a name in the `__all__` of one of the modules in `FAMILIES`; what is said of it comes
from its docstring, which is the single place where it is said.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from neurarium._source import File, definition, kind, module_file, signature

__all__ = ["FAMILIES", "Recipe", "Technique", "find", "missing", "recipes", "show", "techniques"]

# Module -> the family's name for readers, in the order of the field's own chapters. Families that
# do not exist in a checkout are passed over.
FAMILIES = {
    "activations": "Activations",
    "losses": "Losses",
    "penalties": "Penalties",
    "initialization": "Initialization",
    "metrics": "Metrics",
    "data.scale": "Scaling",
    "data.augment": "Augmentation",
    "data.tangents": "Tangents",
    "data.synthetic": "Synthetic tasks",
    "layers": "Layers",
    "layers.attention": "Attention",
    "layers.feedforward": "Feed-forward layers",
    "layers.transformer": "Transformer blocks",
    "layers.masks": "Attention masks",
    "layers.positions": "Positions",
    "networks": "Networks",
    "networks.neuron_models": "Neuron models",
    "networks.theory": "Computational power",
    "objectives": "Objectives",
    "text.decode": "Decoding",
    "text.ctc": "Decoding",
    "optim.schedules": "Schedules",
    "optim": "Optimizers",
    "learning": "Learning rules",
    "learning.autodiff": "Automatic differentiation",
    "training.callbacks": "Callbacks",
    "training.fine_tuning": "Fine-tuning",
    "training.lr_finder": "Learning-rate finder",
    "training.noise_scale": "Gradient noise scale",
    "training.diagnostics": "Diagnostics",
    "training.landscape": "Loss landscapes",
    "training.ntk": "Neural tangent kernel",
    "training.distributed": "Distributed training",
    "graphs": "Graphs",
    "explain": "Explanation",
    "study": "Studies",
}

# Folder of recipes -> its chapter, as typed after `neurarium reproduce --family`.
CHAPTERS = {
    "neurons": "01",
    "objectives": "02",
    "training": "03",
    "learning": "04",
    "convolution": "10",
    "recurrent": "14",
    "attention": "15",
    "graphs": "20",
}

# Public names that are tools around techniques and have no equation or paper of their own;
# shell patterns over `module.name`.
NOT_TECHNIQUES = (
    "*Error",  # exceptions
    "activations.derivative",  # differentiates any activation
    "activations.inverse",  # inverts any activation
    "activations.resolve",  # "swish:beta=2" -> the function
    "losses.Reduction",  # type alias
    "losses.resolve",
    "losses.reduce",  # the one place where "mean" and "sum" are applied
    "penalties.resolve",
    "initialization.resolve",
    "initialization.initialize",  # applies a named scheme to a whole network
    "metrics.CalibrationTable",  # what `calibration` returns
    "metrics.accuracy",  # a share of rows, on the device
    "metrics.probabilities",  # softmax or sigmoid by task
    "metrics.scores",  # scikit-learn's figures of a task, all at once
    "data.augment.compose",  # "flip crop:4" -> the augmentations
    "networks.build",  # configuration -> network
    "networks.config",  # network -> configuration
    "networks.resolve",
    "networks.neuron_models.Trace",  # what a simulation returns
    "text.decode.Hypothesis",  # what `beam` returns
    "text.decode.step_of",  # a model -> its step
    "objectives.Objective",  # protocol
    "optim.get",  # "adamw" -> the class
    "optim.param_groups",  # which parameters decay
    "optim.schedules.Schedule",  # type alias
    "optim.schedules.resolve",
    "learning.Rule",  # protocol
    "learning.resolve",
    "training.callbacks.Callback",  # base class: the event names
    "training.callbacks.Checkpoint",  # faces of the loop, which change nothing that is learnt
    "training.callbacks.JSONLines",
    "training.callbacks.Progress",
    "training.lr_finder.LRFinder",  # what `lr_find` returns
    "training.distributed.StepProfile",  # what `profile_step` returns
    "study.Ablation",  # what `ablate` returns
    "study.Tuning",  # what `tune` returns
)

_ROOT = Path(__file__).parent
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<!\$)\$([^$]+)\$")
_SOURCE = re.compile(r"\bSources?:\s*(.+?)\s*(?=\n\s*\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Technique:
    """One public function or class of the zoo, with what its docstring says."""

    name: str
    module: str  # where users find it: "losses", "optim.schedules"
    kind: str  # "function", "class" or "value"
    family: str
    signature: str
    docstring: str
    recipe: tuple[str, ...]  # recipes that use it
    code: str
    file: str  # relative to the package
    line: int

    @property
    def qualified(self) -> str:
        return f"{self.module}.{self.name}"

    @cached_property
    def summary(self) -> str:
        """The docstring's first paragraph on one line."""
        prose = _DISPLAY.sub("", _SOURCE.sub("", self.docstring))
        return _one_line(prose.strip().split("\n\n")[0])

    @cached_property
    def equation(self) -> str:
        """LaTeX of the first display equation, else of the first inline one; "" without."""
        found = _DISPLAY.search(self.docstring) or _INLINE.search(self.docstring)
        return _one_line(found[1]) if found else ""

    @cached_property
    def source(self) -> str:
        found = _SOURCE.search(self.docstring)
        return _one_line(found[1]) if found else ""


@dataclass(frozen=True)
class Recipe:
    """One reproduction: what `@recipe(...)` says of it, and the docstring of its function."""

    name: str  # as typed after `neurarium reproduce`: dashes, not underscores
    family: str  # the folder it is in: "neurons"
    source: str
    figure: str
    published: float | None
    expect: tuple[float | None, float | None] | None
    minutes: float | None
    needs: tuple[str, ...]  # files under NEURARIUM_DATA
    docstring: str
    code: str
    file: str
    line: int

    @property
    def summary(self) -> str:
        return _one_line(self.docstring.split("\n\n")[0])


def techniques(root: Path | None = None) -> list[Technique]:
    """Every technique below `root` (default: this package), family by family as in `__all__`."""
    root = root or _ROOT
    words = {recipe.name: _words(recipe) for recipe in recipes(root)}
    # A name that two modules re-export is one technique, of the first family.
    once: dict[tuple[str, int], Technique] = {}
    for module in FAMILIES:
        for technique in _family(root, module, words):
            once.setdefault((technique.file, technique.line), technique)
    return list(once.values())


def recipes(root: Path | None = None) -> list[Recipe]:
    """Every function decorated with `@recipe(...)` below `root`/recipes, by chapter and file."""
    root = root or _ROOT
    found = []
    for path in sorted((root / "recipes").rglob("*.py")):
        file = File(root, path)
        for node in file.tree.body:
            if isinstance(node, ast.FunctionDef) and (call := _recipe_call(node)):
                found.append(_recipe(file, node, call))
    return sorted(found, key=lambda recipe: CHAPTERS.get(recipe.family, "99"))


def find(pattern: str = "*", root: Path | None = None) -> list[Technique]:
    """Techniques whose name, or `module.name`, matches a shell pattern (case does not matter)."""
    wanted = pattern.lower()
    return [
        t
        for t in techniques(root)
        if fnmatchcase(t.name.lower(), wanted) or fnmatchcase(t.qualified.lower(), wanted)
    ]


def show(name: str, root: Path | None = None) -> Technique:
    """The technique called `name`, plain (`tukey`, `one-cycle`) or qualified (`losses.tukey`).

    Raises:
        LookupError: if no technique or several have that name; the message says which to try.
    """
    catalogue = techniques(root)
    exact = [t for t in catalogue if name in (t.name, t.qualified)]
    key = _key(name)
    found = exact or [t for t in catalogue if key in (_key(t.name), _key(t.qualified))]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"{name!r} is {len(found)} techniques; say {_listed(found)}")
    names = {_key(t.name): t for t in catalogue}
    near = [names[k] for k in get_close_matches(key.split(".")[-1], names, n=3)]
    hint = f"did you mean {_listed(near)}?" if near else "`neurarium zoo` lists them all"
    raise LookupError(f"no technique is called {name!r}; {hint}")


def missing(technique: Technique) -> list[str]:
    """What the docstring lacks of summary, equation and source; empty for a finished technique."""
    return [part for part in ("summary", "equation", "source") if not getattr(technique, part)]


# Reading one family ------------------------------------------------------------------------------


def _family(root: Path, module: str, recipe_words: dict[str, set[str]]) -> Iterator[Technique]:
    file = module_file(root, module)
    if file is None:
        return
    for name in file.public:
        if _is_tool(f"{module}.{name}") or _is_submodule(root, file, module, name):
            continue
        home, node = definition(root, file, name)
        yield Technique(
            name=name,
            module=module,
            kind=kind(node),
            family=FAMILIES[module],
            signature=signature(home, node, name),
            docstring=home.docstring(node),
            recipe=tuple(r for r, words in recipe_words.items() if {name, _snake(name)} & words),
            code=home.code(node),
            file=str(home.path.relative_to(root)),
            line=node.lineno,
        )


def _is_tool(qualified: str) -> bool:
    return any(fnmatchcase(qualified, pattern) for pattern in NOT_TECHNIQUES)


def _is_submodule(root: Path, file: File, module: str, name: str) -> bool:
    node = file.bindings.get(name)
    imported = isinstance(node, ast.ImportFrom) and node.module == f"neurarium.{module}"
    return (node is None or imported) and module_file(root, f"{module}.{name}") is not None


# Reading recipes ---------------------------------------------------------------------------------


def _recipe_call(node: ast.FunctionDef) -> ast.Call | None:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("recipe"):
            return decorator
    return None


def _recipe(file: File, node: ast.FunctionDef, call: ast.Call) -> Recipe:
    try:
        said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError as error:
        raise ValueError(
            f"{file.path}:{node.lineno} @recipe's arguments must be literals, which the catalogue "
            f"reads without running the file: {error}"
        ) from error
    return Recipe(
        name=node.name.replace("_", "-"),
        family=file.path.parent.name,
        source=said.get("source", ""),
        figure=said.get("figure", ""),
        published=said.get("published"),
        expect=said.get("expect"),
        minutes=said.get("minutes"),
        needs=said.get("needs", ()),
        docstring=file.docstring(node),
        code=file.code(node),
        file=str(file.path.relative_to(file.root)),
        line=node.lineno,
    )


def _words(recipe: Recipe) -> set[str]:
    """Every identifier in the recipe's code, those inside strings like "swish:beta=2" too."""
    function = ast.parse(recipe.code).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:] if recipe.docstring else function.body
    return set(re.findall(r"[A-Za-z_]\w*", "\n".join(map(ast.unparse, body))))


# Names -------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    """FeedbackAlignment -> feedback_alignment, LeNet5 -> le_net5, MLP -> mlp."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _key(name: str) -> str:
    """What is left of a name when case, dashes and underscores do not matter."""
    return name.replace("-", "").replace("_", "").lower()


def _listed(found: list[Technique]) -> str:
    return " or ".join(t.qualified for t in found)


def _one_line(text: str) -> str:
    return " ".join(text.split())
