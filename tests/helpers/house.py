"""Figures of the house: how the product's packages are laid out and written.

``python -m tests.helpers.house [PATH ...]`` prints the figures, and for the files under PATH every place that counts
against them. `tests/test_house.py` holds the figures.
"""

from __future__ import annotations

import ast
import importlib.metadata
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from covidmt.rooms import ROOMS

REPO = Path(__file__).parents[2]

# Whose private names are counted: every library that the project imports, the standard library aside.
LIBRARIES = frozenset(importlib.metadata.packages_distributions()) - {*ROOMS, "tests"}


class Place(NamedTuple):
    """Something that counts: the file (relative to the repository), its line, and what stands there."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        """As an editor opens it."""
        return f"{self.path}:{self.line}: {self.text}"


@cache
def modules() -> tuple[Path, ...]:
    """All modules of the product's packages, without tests, benchmarks and docs."""
    return tuple(sorted(path for room in ROOMS for path in (REPO / room).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    """The file's name relative to the repository."""
    return path.relative_to(REPO).as_posix()


def _nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, kinds):
                yield path, node


def lines() -> int:
    """Lines of the product's packages."""
    return sum(len(path.read_text().splitlines()) for path in modules())


def lines_by_kind() -> dict[str, int]:
    """Lines of code, docstrings, comments and blank lines."""
    counts = dict.fromkeys(("code", "docstring", "comment", "blank"), 0)
    for path in modules():
        text = path.read_text()
        docstring = set()
        for node in ast.walk(tree(path)):
            if _documented(node):
                docstring |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            kind = "docstring" if number in docstring else "blank" if not stripped else "code"
            counts["comment" if kind == "code" and stripped.startswith("#") else kind] += 1
    return counts


def _documented(node: ast.AST) -> bool:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


def long_bodies(least: int = 20) -> list[tuple[Place, bool]]:
    """Function bodies of ``least`` lines and more, docstring aside, and whether they have paragraphs.

    A paragraph is begun by a blank line or a comment line.
    """
    found = []
    for path, node in _nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        body = node.body[1:] if _documented(node) else node.body
        if not body:
            continue
        rows = path.read_text().splitlines()[body[0].lineno - 1 : node.end_lineno]
        if len(rows) >= least:
            paragraphs = any(not row.strip() or row.strip().startswith("#") for row in rows)
            found.append((Place(name(path), node.lineno, f"{node.name}: {len(rows)} lines"), paragraphs))
    return found


def bodies_without_paragraphs() -> list[Place]:
    """The long bodies without a blank or comment line."""
    return [place for place, paragraphs in long_bodies() if not paragraphs]


def walruses() -> list[Place]:
    """Assignment expressions."""
    return [Place(name(path), node.lineno, ast.unparse(node)) for path, node in _nodes(ast.NamedExpr)]


def untyped_trees() -> list[Place]:
    """``dict[str, Any]``, also inside other annotations and casts."""
    found = []
    for path, node in _nodes(ast.Subscript):
        if ast.unparse(node) in ("dict[str, Any]", "Mapping[str, Any]", "MutableMapping[str, Any]"):
            found.append(Place(name(path), node.lineno, ast.unparse(node)))
    return found


def classes_named_twice() -> list[Place]:
    """Public classes whose name another public class of the project has."""
    by_name = defaultdict(list)
    for path, node in _nodes(ast.ClassDef):
        if not node.name.startswith("_"):
            by_name[node.name].append(Place(name(path), node.lineno, node.name))
    return [place for places in by_name.values() if len(places) > 1 for place in places]


def functions_named_twice() -> list[Place]:
    """Public module-level functions whose name another one of the project has."""
    by_name = defaultdict(list)
    for path in modules():
        if path.parent.name == "commands":  # they have the commands' names
            continue
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                by_name[node.name].append(Place(name(path), node.lineno, node.name))
    return [place for places in by_name.values() if len(places) > 1 for place in places]


def private_names_of_others() -> list[Place]:
    """Private modules and names imported from libraries, and private attributes of objects that are not ours.

    An attribute is ours if any of our classes or modules defines or assigns it.
    """
    ours = set()
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                ours.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                ours.add(node.attr)
    found = []
    for path, node in _nodes(ast.ImportFrom, ast.Import, ast.Attribute):
        if isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            foreign = (node.module or "").split(".")[0] in LIBRARIES
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
            foreign = node.names[0].name.split(".")[0] in LIBRARIES
        else:
            names, foreign = [node.attr], node.attr not in ours and not _is_self(node.value)
        if foreign and any(_is_private(part) for part in names):
            found.append(Place(name(path), node.lineno, ast.unparse(node)))
    return found


def _is_private(word: str) -> bool:
    # named tuples and the end of a process have documented names with an underscore
    public = ("_asdict", "_fields", "_replace", "_exit")
    return word.startswith("_") and not word.startswith("__") and word not in public


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def doctests() -> list[Place]:
    """Modules with at least one example that runs."""
    found = []
    for path in modules():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip().startswith(">>> "):
                found.append(Place(name(path), number, line.strip()))
                break
    return found


def empty_packages() -> list[Place]:
    """``__init__.py`` files that do not say what lives beside them."""
    return [Place(name(p), 1, "empty") for p in modules() if p.name == "__init__.py" and not _documented(tree(p))]


def long_files(most: int = 450) -> list[Place]:
    """Files over ``most`` lines."""
    counts = ((path, len(path.read_text().splitlines())) for path in modules())
    return [Place(name(path), count, f"{count} lines") for path, count in counts if count > most]


def folders() -> dict[str, int]:
    """Modules in each folder, ``__init__.py`` aside."""
    counts: dict[str, int] = defaultdict(int)
    for path in modules():
        counts[name(path.parent)] += path.name != "__init__.py"
    return dict(counts)


def modules_without_test() -> list[Place]:
    """Modules without a test file of their name in the same wing of ``tests/``."""
    found = []
    for path in modules():
        mirror = REPO / "tests" / path.relative_to(REPO).with_name(f"test_{path.name}")
        if path.name not in ("__init__.py", "__main__.py") and not mirror.exists():
            found.append(Place(name(path), 1, f"no {name(mirror)}"))
    return found


def walrus_rate() -> float:
    """Assignment expressions in a thousand lines."""
    return 1000 * len(walruses()) / lines()


def share_without_paragraphs() -> float:
    """Percent of long bodies without a blank or comment line."""
    return 100 * len(bodies_without_paragraphs()) / len(long_bodies())


def figures() -> dict[str, float]:
    """All figures, by what they count."""
    return {
        "lines": lines(),
        "modules in the fullest folder": max(folders().values()),
        "modules in covidmt/ itself": folders()["covidmt"],
        "files over 450 lines": len(long_files()),
        "long bodies without paragraphs, %": round(share_without_paragraphs(), 1),
        "walruses in a thousand lines": round(walrus_rate(), 2),
        "dict[str, Any]": len(untyped_trees()),
        "public classes named twice": len({place.text for place in classes_named_twice()}),
        "files with private names of libraries": len({place.path for place in private_names_of_others()}),
        "modules with an example": len(doctests()),
        "empty __init__.py": len(empty_packages()),
        "modules without a test of their name": len(modules_without_test()),
    }


LISTS: dict[str, Callable[[], list[Place]]] = {
    "body without paragraphs": bodies_without_paragraphs,
    "walrus": walruses,
    "untyped tree": untyped_trees,
    "class named twice": classes_named_twice,
    "function named twice": functions_named_twice,
    "private name of a library": private_names_of_others,
    "empty package": empty_packages,
    "long file": long_files,
    "no test of its name": modules_without_test,
}


def main(paths: list[str]) -> None:
    """Print the figures, and what counts against them under the paths."""
    out = io.StringIO()
    for label, value in figures().items():
        print(f"{value:>10,}  {label}", file=out)
    for label, value in lines_by_kind().items():
        print(f"{value:>10,}  lines: {label}", file=out)
    for label, find in LISTS.items():
        for place in find():
            if paths and place.path.startswith(tuple(paths)):
                print(f"{place}  [{label}]", file=out)
    print(out.getvalue(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
