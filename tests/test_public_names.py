"""The public names: few, sorted, loaded when they are used."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import unstuck

ASKED_FOR = {
    *("Problem", "diagnose", "measure", "train", "Report", "Finding", "Evidence", "Trial", "Prescription"),
    *("Reading", "Readings", "Probe", "Cause", "Remedy", "Budget", "UnstuckError", "InputError"),
    *("probes", "causes", "remedies", "specimens"),
}


def test_the_names_are_few_sorted_and_those_of_the_contract() -> None:
    assert set(unstuck.__all__) == ASKED_FOR
    assert unstuck.__all__ == sorted(unstuck.__all__)
    assert len(unstuck.__all__) <= 25
    assert dir(unstuck) == unstuck.__all__


@pytest.mark.parametrize("name", sorted(ASKED_FOR))
def test_every_name_is_what_it_says(name: str) -> None:
    found = getattr(unstuck, name)
    if isinstance(found, ModuleType):
        assert found.__name__ == f"unstuck.{name}"
    else:
        assert found.__name__ == name
        assert getattr(importlib.import_module(found.__module__), name) is found
        assert inspect.getdoc(found)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(inspect.getfile(unstuck)).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(seen) == ASKED_FOR
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(unstuck, name)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'diagnos'"):
        unstuck.diagnos  # type: ignore[attr-defined] # noqa: B018


def test_nothing_is_loaded_before_it_is_used() -> None:
    program = (
        "import sys, unstuck\n"
        "dir(unstuck), unstuck.InputError, unstuck.Budget\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'plotly', 'typer', 'rich'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
