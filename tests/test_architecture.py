"""The plan of the house: who may import whom, and how long things may be."""

import ast
import graphlib
import importlib.util
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"

# Imports go down this table. Inside a layer a module may import what stands to its left.
LAYERS = (
    (
        *("errors", "progress", "budget", "fingerprint", "vector", "numerics"),
        *("database", "ledger", "executor", "driver"),
    ),
    (
        *(
            "untouched",
            "ranks",
            "data",
            "branching",
            "forward",
            "sharded",
            "initial",
            "curvature",
            "snapshot",
            "judged",
            "problem",
        ),
        *("check", "target", "measures", "walk", "directions", "landscape"),
        *("device", "accuracy", "plot", "methods", "passes", "surgery", "classifier", "datasets"),
    ),
    ("fleet_network", "fleet", "view", "reading", "remedy", "cause"),
    ("probes", "specimens"),
    ("remedies", "decision", "proof", "horizon", "trial", "plan", "comparison", "trial_figure", "proof_figure", "jobs"),
    ("causes",),
    ("exam", "shortlist", "prescription", "page", "report"),
    (
        *("verdict", "rounds", "proving", "diagnosis", "measuring"),
        *("recipe", "treatment", "checkpoint", "course", "resuming", "training"),
        "watch",
    ),
    ("integrations", "study", "studies", "lecture", "studying", "ward"),
    ("__init__", "terminal", "delivery", "launch", "commands", "cli", "__main__"),
)
LEVEL = {entry: number for number, layer in enumerate(LAYERS) for entry in layer}
FREE_LAYERS = (0, 1)  # here neighbours may import each other both ways, as long as there is no cycle
PLUGINS = ("probes", "causes", "remedies", "specimens", "studies")  # siblings do not know each other
STRANGERS = {  # would be downwards, and is refused all the same
    "specimens": ("probes",),  # a specimen is a problem; it is measured by others
    "page": ("probes", "causes", "remedies"),  # lays out what it is given, and knows none by name
    "report": ("probes", "causes", "remedies"),
    "study": ("probes", "causes", "remedies"),
}
WITHOUT_TORCH = ("database", "ledger", "executor", "driver")  # the driver of a cluster needs no torch

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
LONG_FUNCTION = 30  # the 90th percentile stays at or under this
EMPTY_NAMES = {"utils", "misc", "helpers", "common", "base"}  # say nothing of what is inside


def module_name(path: Path) -> str:
    """`src/unstuck/probes/noise.py` is `unstuck.probes.noise`; a package is named by its folder."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((SOURCE / "unstuck").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def place(name: str) -> str:
    """The entry of the table a module of the package belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node`, function bodies included, without what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for otherwise in child.orelse:
                yield otherwise
                yield from executed(otherwise)
        else:
            yield child
            yield from executed(child)


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Full names of what a module imports (`from a import b` is `a.b`); `package` is where dots start."""
    for node in executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(relative, package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imported(name: str) -> list[str]:
    is_package = FILES[name].stem == "__init__"
    return list(imports(TREES[name], name if is_package else name.rpartition(".")[0]))


def as_module(target: str) -> str | None:
    """The module of the package that holds an imported name; None when it is someone else's."""
    if target.split(".")[0] != "unstuck":
        return None
    while target not in FILES and "." in target:
        target = target.rpartition(".")[0]
    return target


def inner_imports(name: str) -> set[str]:
    modules = map(as_module, imported(name))
    return {module for module in modules if module is not None}


def refusal(importer: str, target: str) -> str | None:
    """Why `importer` may not import `target` (both modules of the package), or None when it may."""
    mine, theirs = place(importer), place(target)
    if mine == theirs:
        is_sibling = mine in PLUGINS and importer.count(".") > 1
        return f"siblings in {mine}/ do not know each other: move what both need down" if is_sibling else None
    if theirs in STRANGERS.get(mine, ()):
        return f"{mine} is to know nothing of {theirs}"
    if mine not in LEVEL or theirs not in LEVEL:
        return "not in the layer table"
    if LEVEL[mine] != LEVEL[theirs]:
        return f"{theirs} is in a layer above {mine}" if LEVEL[mine] < LEVEL[theirs] else None
    layer = LAYERS[LEVEL[mine]]
    if LEVEL[mine] in FREE_LAYERS or layer.index(theirs) < layer.index(mine):
        return None
    return f"{theirs} comes after {mine} in its layer"


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and number of lines, without decorators and docstring, of each function and method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = ast.get_docstring(node) is not None
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield node.name, lines - ((first.end_lineno or 0) - first.lineno + 1 if docstring else 0)


@pytest.mark.parametrize("name", FILES)
def test_every_module_has_its_place_in_the_table(name: str) -> None:
    assert place(name) in LEVEL, (
        f"{FILES[name].relative_to(ROOT)} is not in the layer table: add {place(name)!r} to LAYERS in "
        f"tests/test_architecture.py, in the lowest layer that may import all it needs"
    )


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down(name: str) -> None:
    refusals = {target: refusal(name, target) for target in inner_imports(name) - {name}}
    assert not {target: reason for target, reason in refusals.items() if reason}


def test_there_is_no_import_cycle() -> None:
    graph = {name: inner_imports(name) - {name} for name in FILES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' imports '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("unstuck.diagnosis", "unstuck.trial", True),
        ("unstuck.trial", "unstuck.diagnosis", False),
        ("unstuck.cause", "unstuck.probes.spectrum", False),
        ("unstuck.remedies.warm_up", "unstuck.probes.spectrum", True),
        ("unstuck.cause", "unstuck.reading", True),
        ("unstuck.reading", "unstuck.cause", False),
        ("unstuck.problem", "unstuck.walk", True),
        ("unstuck.walk", "unstuck.problem", True),
        ("unstuck.probes.noise", "unstuck.probes.spectrum", False),
        ("unstuck.probes.noise", "unstuck.probes", False),
        ("unstuck.probes", "unstuck.probes.noise", True),
        ("unstuck.numerics.trace", "unstuck.numerics.statistics", True),
        ("unstuck.page.render", "unstuck.causes.healthy", False),
        ("unstuck.cli", "unstuck", True),
        ("unstuck.report", "unstuck", False),
    ],
)
def test_the_table_says_who_may_import_whom(importer: str, target: str, allowed: bool) -> None:
    assert (refusal(importer, target) is None) == allowed


def test_imports_are_found_wherever_they_are_executed() -> None:
    tree = ast.parse(
        "import os.path\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import unseen\nelse:\n    import otherwise\n"
        "def late():\n    from torch import _dynamo\n    if True:\n        from .spectrum import Spectrum\n"
    )
    assert list(imports(tree, "unstuck.probes")) == [
        "os.path",
        "typing.TYPE_CHECKING",
        "otherwise",
        "torch._dynamo",
        "unstuck.probes.spectrum.Spectrum",
    ]


@pytest.mark.parametrize("name", FILES)
def test_torch_is_used_by_its_public_names(name: str) -> None:
    torch = [target for target in imported(name) if target.split(".")[0] == "torch"]
    assert not [target for target in torch if "._" in target]
    assert not (place(name) in WITHOUT_TORCH and torch)


@pytest.mark.parametrize(
    "program",
    [
        "import unstuck",
        "import unstuck.cli",
        "import sys, unstuck.cli; sys.argv = ['unstuck', '--help']; unstuck.cli.main()",
    ],
)
def test_help_and_import_load_nothing_heavy(program: str) -> None:
    command = [sys.executable, "-X", "importtime", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    timed = [line for line in ran.stderr.splitlines() if line.startswith("import time:")]
    assert ran.returncode == 0, ran.stderr.rpartition(timed[-1])[2]
    loaded = {line.rpartition("|")[2].strip() for line in timed}
    assert "unstuck" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "plotly"}


@pytest.mark.parametrize("path", [*FILES.values(), *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda path: path.stem)
def test_files_are_short_and_named_by_what_they_hold(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{path.relative_to(ROOT)} has {lines} lines: it holds more than one idea"
    names = set(path.relative_to(ROOT).with_suffix("").parts)
    assert not names & EMPTY_NAMES, f"{path.relative_to(ROOT)}: name the file by the idea it holds"


def test_functions_are_short() -> None:
    lengths = [(lines, f"{name}.{title}") for name in FILES for title, lines in functions(TREES[name])]
    assert not [row for row in lengths if row[0] > LONGEST_FUNCTION]
    ranked = sorted(lengths)
    assert ranked[math.ceil(0.9 * len(ranked)) - 1][0] <= LONG_FUNCTION


@pytest.mark.parametrize("name", [name for name in FILES if name != "unstuck.cli"])
def test_only_the_command_line_prints(name: str) -> None:
    called = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    lines = [node.lineno for node in called if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert not lines, f"print in {FILES[name].relative_to(ROOT)}, lines {lines}"
