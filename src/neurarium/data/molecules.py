"""Molecules from SMILES: a reader of its own, so that no chemistry package is needed."""

import re
from dataclasses import dataclass, field

import torch

from neurarium.data.errors import DataError
from neurarium.data.graph import Graph

__all__ = ["ATOM_FEATURES", "BOND_FEATURES", "molecule", "parse_smiles"]

_TOKEN = re.compile(
    r"\[(?P<bracket>[^\]]+)\]|(?P<atom>Cl|Br|[BCNOPSFI]|[bcnops])|(?P<bond>[-=#:$/\\])"
    r"|(?P<open>\()|(?P<close>\))|(?P<ring>%\d\d|\d)|(?P<dot>\.)"
)
_BRACKET = re.compile(
    r"\d*(?P<element>[A-Z][a-z]?|[a-z][a-z]?)(?P<chiral>@{0,2})(?P<hydrogens>H\d*)?"
    r"(?P<charge>[+-]+\d*)?(?::\d+)?$"
)
_VALENCES = {"B": (3,), "C": (4,), "N": (3, 5), "O": (2,), "P": (3, 5), "S": (2, 4, 6)}
_VALENCES |= {"F": (1,), "Cl": (1,), "Br": (1,), "I": (1,)}
_ORDERS = {"-": 1.0, "/": 1.0, "\\": 1.0, "=": 2.0, "#": 3.0, "$": 4.0, ":": 1.5}
_ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "H", "B", "Si", "other")
_MOST_HYDROGENS, _MOST_NEIGHBOURS = 4, 6

ATOM_FEATURES = len(_ELEMENTS) + (_MOST_NEIGHBOURS + 1) + (_MOST_HYDROGENS + 1) + 3
"""Element, neighbours and hydrogens one-hot; charge, aromatic, in a ring."""
BOND_FEATURES = 6
"""Single, double, triple, aromatic; conjugated, in a ring."""


@dataclass
class Atom:
    """An atom as written."""

    element: str
    aromatic: bool
    charge: int = 0
    hydrogens: int | None = None  # told within brackets; else what the valence leaves
    bonds: dict[int, float] = field(default_factory=dict)


def parse_smiles(smiles: str) -> list[Atom]:
    """The heavy atoms and their bonds, hydrogens counted.

    Charges, brackets, branches, rings, aromatic atoms and several parts are read; stereochemistry
    and isotopes are passed over.

    Raises:
        DataError: for what is no SMILES; it names the place.
    """
    text = smiles.strip()
    atoms: list[Atom] = []
    rings: dict[str, tuple[int, str | None]] = {}
    branches: list[int | None] = []
    last: int | None = None
    bond: str | None = None
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise DataError(
                f"'{smiles}' is no SMILES: cannot read '{text[position]}' at {position}"
            )
        kind, word = token.lastgroup, token.group()
        if kind in ("atom", "bracket"):
            atoms.append(_atom(token, smiles))
            if last is not None:
                _join(atoms, last, len(atoms) - 1, bond)
            last, bond = len(atoms) - 1, None
        elif kind == "bond":
            bond = word
        elif kind == "open":
            branches.append(last)
        elif kind == "close":
            if not branches:
                raise DataError(f"'{smiles}' is no SMILES: ')' at {position} closes nothing")
            last, bond = branches.pop(), None
        elif kind == "ring":
            if last is None:
                raise DataError(f"'{smiles}' is no SMILES: a ring begins before any atom")
            if word in rings:
                other, drawn = rings.pop(word)
                _join(atoms, other, last, bond or drawn)
            else:
                rings[word] = last, bond
            bond = None
        else:  # a dot: another part
            last, bond = None, None
        position = token.end()
    if rings or branches or not atoms:
        open_ = ", ".join(rings) or "a branch" if rings or branches else "no atom"
        raise DataError(f"'{smiles}' is no SMILES: {open_} is left open or missing")
    for atom in atoms:
        if atom.hydrogens is None:
            atom.hydrogens = _implicit(atom)
    return atoms


def _atom(token: re.Match[str], smiles: str) -> Atom:
    if token["atom"]:
        word = token["atom"]
        return Atom(word.capitalize(), word.islower())
    found = _BRACKET.match(token["bracket"])
    if found is None:
        raise DataError(f"'{smiles}' is no SMILES: cannot read [{token['bracket']}]")
    hydrogens = found["hydrogens"] or ""
    charge = found["charge"] or ""
    amount = re.sub(r"[+-]", "", charge)
    size = int(amount) if amount else len(charge)
    return Atom(
        found["element"].capitalize(),
        found["element"].islower(),
        -size if charge.startswith("-") else size,
        0 if not hydrogens else int(hydrogens[1:] or 1),
    )


def _join(atoms: list[Atom], a: int, b: int, bond: str | None) -> None:
    if bond is None:
        order = 1.5 if atoms[a].aromatic and atoms[b].aromatic else 1.0
    else:
        order = _ORDERS[bond]
    atoms[a].bonds[b] = atoms[b].bonds[a] = order


def _implicit(atom: Atom) -> int:
    """Hydrogens that fill up the lowest usual valence; in an aromatic ring no higher one."""
    used = sum(1.0 if order == 1.5 else order for order in atom.bonds.values())
    used += atom.aromatic  # one bond's worth belongs to the ring's electrons
    valences = _VALENCES.get(atom.element, (0,))
    for valence in valences[:1] if atom.aromatic else valences:
        if valence >= used:
            return int(valence - used)
    return 0


def molecule(smiles: str) -> Graph:
    r"""A molecule as a graph: atoms without hydrogens, bonds in both directions.

    $$x_a = [\text{element}; \text{neighbours}; \text{hydrogens}; \text{charge}; \text{aromatic};
      \text{in a ring}]$$

    and for bonds single, double, triple or aromatic; conjugated; in a ring.

    Source: Duvenaud et al. (2015), Convolutional Networks on Graphs for Learning Molecular
    Fingerprints, arXiv:1509.09292 (features of the same kind).
    """
    atoms = parse_smiles(smiles)
    in_ring = _ring_bonds(atoms)
    x = torch.zeros(len(atoms), ATOM_FEATURES)
    ends, bonds = [], []
    for i, atom in enumerate(atoms):
        element = atom.element if atom.element in _ELEMENTS else "other"
        start = 0
        for place, size in (
            (_ELEMENTS.index(element), len(_ELEMENTS)),
            (min(len(atom.bonds), _MOST_NEIGHBOURS), _MOST_NEIGHBOURS + 1),
            (min(atom.hydrogens or 0, _MOST_HYDROGENS), _MOST_HYDROGENS + 1),
        ):
            x[i, start + place] = 1
            start += size
        ringed = any((min(i, j), max(i, j)) in in_ring for j in atom.bonds)
        x[i, start:] = torch.tensor([atom.charge, atom.aromatic, ringed], dtype=x.dtype)
        for j, order in atom.bonds.items():
            ends.append((j, i))
            kinds = [order == kind for kind in (1.0, 2.0, 3.0, 1.5)]
            ringed_bond = (min(i, j), max(i, j)) in in_ring
            bonds.append([*kinds, _conjugated(atoms, i, j), ringed_bond])
    edges = torch.tensor(ends, dtype=torch.long).reshape(-1, 2).T.contiguous()
    attributes = torch.tensor(bonds, dtype=x.dtype).reshape(-1, BOND_FEATURES)
    return Graph(x, edges, edge_attr=attributes, checked=True)


def _conjugated(atoms: list[Atom], i: int, j: int) -> bool:
    order = atoms[i].bonds[j]
    if order == 1.5:
        return True
    unsaturated = [any(o > 1 for o in atoms[k].bonds.values()) for k in (i, j)]
    return order == 1 and all(unsaturated)


def _ring_bonds(atoms: list[Atom]) -> set[tuple[int, int]]:
    """Bonds whose ends stay connected without them."""
    rings = set()
    for i, atom in enumerate(atoms):
        for j in atom.bonds:
            if i < j and _connected(atoms, i, j):
                rings.add((i, j))
    return rings


def _connected(atoms: list[Atom], start: int, end: int) -> bool:
    seen, stack = {start}, [start]
    while stack:
        here = stack.pop()
        for there in atoms[here].bonds:
            if {here, there} == {start, end} or there in seen:
                continue
            if there == end:
                return True
            seen.add(there)
            stack.append(there)
    return False
