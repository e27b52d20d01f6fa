"""From a name to a problem, and what is said where there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.untouched import content

from unstuck.errors import InputError
from unstuck.problem import Problem
from unstuck.specimens import healthy
from unstuck.target import load

GOOD = '''
import torch
from torch import nn
from beside import FEATURES

def mapping():
    """A problem as a mapping."""
    model = nn.Linear(FEATURES, 1)
    return {
        "model": model,
        "loss": nn.MSELoss(),
        "train": [(torch.ones(5, FEATURES), torch.ones(5, 1))],
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }

def named():
    return mapping() | {"name": "mine"}

def with_fresh():
    return mapping() | {"fresh": named}

class Targets:
    inside = staticmethod(mapping)

number = 3

def broken():
    value = {}
    return value["nothing"]

def silent():
    raise RuntimeError

def text():
    return "text"

def unknown():
    return mapping() | {"modle": 1, "lr": 0.1}

def incomplete():
    given = mapping()
    del given["optimizer"]
    return given

def needs(argument):
    return argument
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a file of targets, one that cannot be run, and a module beside them."""
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "beside.py").write_text("FEATURES = 4\n", encoding="utf-8")
    (tmp_path / "wrong.py").write_text("def made(:\n", encoding="utf-8")
    (tmp_path / "failing.py").write_text("import math\nmath.sqrt(-1)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("good", "beside", "wrong", "failing", "target_json"):
        sys.modules.pop(name, None)


def test_a_file(folder: Path) -> None:
    problem = load(f"{folder}/good.py:mapping")
    assert isinstance(problem, Problem)
    assert problem.name == "mapping"
    assert problem.dimension == 5


def test_a_module_a_path_from_here_and_a_name_inside(folder: Path) -> None:
    assert load("good:mapping").dimension == load("good.py:Targets.inside").dimension == 5
    assert load("unstuck.specimens:healthy").name == healthy().name
    assert load("good.py:named").name == "mine"


def test_a_file_does_not_take_the_place_of_another_module(folder: Path) -> None:
    (folder / "json.py").write_text(GOOD, encoding="utf-8")
    assert load("json.py:mapping").dimension == 5
    assert json.loads("[1]") == [1]
    assert sys.modules["json"] is json


def test_fresh_calls_the_target_again(folder: Path) -> None:
    problem = load("good.py:mapping")
    assert problem.fresh is not None
    with torch.no_grad():
        for parameter in problem.model.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(0)
    again = problem.fresh()
    assert isinstance(again, Problem)
    assert again.model is not problem.model
    assert content(again.model.state_dict()) != content(problem.model.state_dict())
    own = load("good.py:with_fresh").fresh
    assert own is not None
    assert isinstance(own(), dict)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("good.py", "write path/to/file.py:function or package.module:function"),
        (":mapping", "write path/to/file.py:function"),
        ("good.py:", "write path/to/file.py:function"),
        ("missing.py:mapping", r"there is no file missing.py; give a path from .*"),
        ("missing:mapping", "there is no module 'missing'; run from the folder that holds it or install it"),
        ("missing.inner:mapping", "there is no module 'missing'"),
        ("good.py:maping", r"good.py has no 'maping'; it has: Targets, broken, .*mapping.*"),
        ("good.py:Targets.outside", "has no 'Targets.outside'"),
        ("good.py:number", "'number' is a int; it must be a function without arguments"),
        ("good.py:broken", r"the function raised KeyError: 'nothing' \(good.py, line 29\)"),
        ("good.py:silent", r"the function raised RuntimeError: no message \(good.py, line 32\)"),
        ("good.py:text", "the function returned str; it must return an unstuck.Problem or a mapping with its fields"),
        ("good.py:unknown", "unknown field lr, modle; a problem has accumulate, .*optimizer.*"),
        ("good.py:incomplete", "a problem needs `optimizer`"),
        ("good.py:needs", r"the function raised TypeError: needs\(\) missing 1 required positional argument"),
        ("wrong.py:made", r"running wrong.py raised SyntaxError: .*"),
        ("failing.py:made", r"running failing.py raised ValueError: .* \(failing.py, line 2\)"),
        ("failing:made", r"importing failing raised ValueError: .* \(failing.py, line 2\)"),
    ],
)
def test_errors_say_what_where_and_what_to_do(folder: Path, target: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        load(target)
    assert "\n" not in str(raised.value)
