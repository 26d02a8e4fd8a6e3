"""Mutation tests: code is broken in one place at a time, and a test must fail (``make mutation``).

    python -m tests.helpers.mutation --seed 0 --per-module 40
    python -m tests.helpers.mutation metrics/bootstrap.py --per-module 0     # all of one module

mutmut (`[tool.mutmut]` in pyproject.toml) breaks a copy of the packages in `mutants/` and runs the tests that reach the
broken function. From each module a sample of its mutants is drawn. What cannot be told from the code by any test is
listed in `equivalent_mutants.toml` with the reason. Not broken are decorated functions, what stands outside of
functions, and the words of error messages. The status is 1 where fewer than 97 % of the others are noticed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# mutmut is imported in the functions: it decides how processes start in whoever imports it.

REPO = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
LEAST = 97.0  # percent of the mutants that are not equivalent
NOTICED = {"killed", "timeout", "segfault"}


@dataclass(frozen=True)
class Change:
    """What tells a mutant from the code, whatever its number: where it is, the lines that go and those that come."""

    module: str
    function: str
    before: str
    after: str


@dataclass(frozen=True)
class Mutant:
    """One mutant: its name for mutmut, its change, and the change as a diff."""

    name: str
    change: Change
    diff: str


@dataclass(frozen=True)
class Row:
    """A module's line of the table: its mutants, those tried, and what became of these."""

    module: str
    mutants: int
    tried: int
    killed: int
    survived: int
    equivalent: int

    @property
    def share(self) -> float:
        """Percent killed of those that are not equivalent."""
        return 100 * self.killed / max(self.killed + self.survived, 1)


def read_mutant(path: Path, name: str) -> Mutant:
    """Return a generated mutant with its change."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    diff = get_diff_for_mutant(name, path=path)
    lines = diff.splitlines()[2:]
    before = "\n".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = "\n".join(line[1:].strip() for line in lines if line.startswith("+"))
    function, class_name = orig_function_and_class_names_from_key(name)
    where = f"{class_name}.{function}" if class_name else function
    return Mutant(name, Change(path.as_posix(), where, before, after), diff)


@dataclass(frozen=True)
class Equivalent:
    """What no test can notice: changes of one place each, and patterns with what means the same wherever they match."""

    changes: frozenset[Change]
    patterns: tuple[tuple[re.Pattern[str], str], ...]

    def __contains__(self, change: Change) -> bool:
        """Whether the change is one of them."""
        before = change.before
        return change in self.changes or any(
            change.after == before[: match.start()] + match.expand(new) + before[match.end() :]
            for pattern, new in self.patterns
            for match in pattern.finditer(before)
        )


def read_equivalent(path: Path = EQUIVALENT) -> Equivalent:
    """Return what `equivalent_mutants.toml` lists."""
    entries = tomllib.loads(path.read_text())
    keys = ("module", "function", "before", "after")
    return Equivalent(
        frozenset(Change(*(entry[key] for key in keys)) for entry in entries["mutant"]),
        tuple((re.compile(entry["pattern"]), after) for entry in entries["everywhere"] for after in entry["after"]),
    )


def sample(names: Iterable[str], size: int, seed: int, module: str) -> list[str]:
    """Return ``size`` of the names, or all for 0: the same for a seed and a module, whatever the other modules are."""
    ordered = sorted(names)
    if not 0 < size < len(ordered):
        return ordered
    return random.Random(f"{seed} {module}").sample(ordered, size)


def generate(modules: list[str], keep: bool) -> dict[Path, list[str]]:
    """Write the broken copies of the modules to `mutants/`; return the names of each module's mutants."""
    from mutmut.__main__ import copy_src_dir, create_mutants
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.utils.file_utils import walk_mutatable_files

    shutil.rmtree("mutants/tests" if keep else "mutants", ignore_errors=True)
    Path("mutants").mkdir(exist_ok=True)
    Path("mutants/mutmut-stats.json").unlink(missing_ok=True)  # which test reaches which function
    copy_src_dir()
    create_mutants(1)
    names = {}
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        if data.exit_code_by_key and (not modules or path.as_posix() in modules):
            names[path] = list(data.exit_code_by_key)
    return names


def run(names: list[str], modules: list[str], workers: int) -> int:
    """Run the tests on the mutants; of some modules alone, with the tests of these modules."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if modules:
        tests = " or ".join(f"test_{Path(module).name}" for module in modules)
        environment["PYTEST_ADDOPTS"] = f'{environment.get("PYTEST_ADDOPTS", "")} -k "{tests}"'

    with tempfile.TemporaryDirectory() as folder:  # mutmut's processes end without cleaning up theirs
        environment["PYTEST_DEBUG_TEMPROOT"] = folder
        command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(workers), *names]
        return subprocess.run(command, env=environment, check=False).returncode


def judge(chosen: dict[Path, list[str]], generated: dict[Path, list[str]]) -> tuple[list[Row], list[Mutant]]:
    """Return the table's rows and the survivors."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    equivalent = read_equivalent()
    rows, survivors = [], []
    for path, names in chosen.items():
        data = SourceFileMutationData(path=path)
        data.load()
        missed = [name for name in names if status_by_exit_code[data.exit_code_by_key[name]] not in NOTICED]
        alive = [read_mutant(path, name) for name in sorted(missed)]
        real = [mutant for mutant in alive if mutant.change not in equivalent]
        survivors += real
        killed, same = len(names) - len(alive), len(alive) - len(real)
        rows.append(Row(path.as_posix(), len(generated[path]), len(names), killed, len(real), same))
    return rows, survivors


def print_report(rows: list[Row], survivors: list[Mutant]) -> float:
    """Print the survivors' diffs and the table; return the percentage killed over all modules."""
    for mutant in survivors:
        print(f"\n{mutant.name}\n{mutant.diff}")

    print(f"\n{'module':<45} {'mutants':>8} {'tried':>6} {'killed':>7} {'survived':>9} {'equivalent':>11} {'share':>7}")
    total = Row("all", *(sum(getattr(row, key) for row in rows) for key in list(Row.__dataclass_fields__)[1:]))
    for row in [*rows, total]:
        counts = f"{row.mutants:>8} {row.tried:>6} {row.killed:>7} {row.survived:>9} {row.equivalent:>11}"
        print(f"{row.module:<45} {counts} {row.share:>6.1f}%")
    return total.share


def main() -> int:
    """Draw the mutants, run the tests on them and report."""
    parser = argparse.ArgumentParser(description="Break the code in one place at a time, and see whether a test fails.")
    parser.add_argument("modules", nargs="*", help="files of pyproject's only_mutate; with their own tests alone")
    parser.add_argument("--per-module", type=int, default=40, help="mutants tried of each module; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--keep", action="store_true", help="keep mutants/ of modules that have not changed since")
    options = parser.parse_args()

    os.chdir(REPO)
    generated = generate(options.modules, options.keep)
    chosen = {
        path: sample(names, options.per_module, options.seed, path.as_posix()) for path, names in generated.items()
    }
    print(f"seed {options.seed}: {sum(map(len, chosen.values()))} of {sum(map(len, generated.values()))} mutants")
    status = run([name for names in chosen.values() for name in names], options.modules, options.workers)
    if status:
        return status
    share = print_report(*judge(chosen, generated))
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
