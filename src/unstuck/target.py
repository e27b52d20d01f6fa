"""From ``path/to/file.py:function`` or ``package.module:function`` to a problem."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unstuck.errors import InputError
from unstuck.problem import Problem


def load(target: str) -> Problem:
    """The problem that a target makes; its ``fresh`` calls the target again.

    Raises:
        InputError: the file, module or function is missing, the function raises, or what it returns is
            neither a problem nor a mapping with a problem's fields.
    """
    function = _function(target)
    problem = _made(function, target)
    name = target.rpartition(":")[2] if problem.name == "problem" else problem.name
    fresh = problem.fresh or (lambda: _made(function, target))
    return dataclasses.replace(problem, name=name, fresh=fresh)


def _function(target: str) -> Callable[[], Any]:
    found = find(target, "target", "function", callable)
    if not callable(found):
        raise InputError(
            f"target {target!r}: {target.rpartition(':')[2]!r} is a {type(found).__name__}; "
            "it must be a function without arguments"
        )
    function: Callable[[], Any] = found
    return function


def find(reference: str, what: str, kind: str, wanted: Callable[[Any], bool]) -> Any:
    """What ``path/to/file.py:NAME`` or ``package.module:NAME`` names.

    Args:
        reference: the file or module, and the name in it.
        what: the reference is, as errors call it.
        kind: of thing that it names, as errors call it.
        wanted: whether something in the file is of that kind; errors say what there is.

    Raises:
        InputError: the file, module or name is missing, or running the file raises.
    """
    where, colon, name = reference.rpartition(":")
    told = f"{what} {reference!r}"
    if not colon or not where or not name:
        raise InputError(f"{told}: write path/to/file.py:{kind} or package.module:{kind}")
    module = _file(Path(where), told) if where.endswith(".py") else _module(where, told)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            there = ", ".join(sorted(n for n, v in vars(module).items() if wanted(v) and not n.startswith("_")))
            raise InputError(f"{told}: {where} has no {name!r}; it has: {there or 'none'}")
        found = getattr(found, part)
    return found


def _file(path: Path, told: str) -> Any:
    if not path.is_file():
        raise InputError(f"{told}: there is no file {path}; give a path from {Path.cwd()}")
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path.resolve()):
        name = f"target_{name}"  # a json.py of the caller's must not take the place of Python's own
    specification = importlib.util.spec_from_file_location(name, path.resolve())
    if specification is None or specification.loader is None:
        raise InputError(f"{told}: {path} cannot be read as a Python file")
    module = importlib.util.module_from_spec(specification)
    # Registered under its name so that classes defined there can be pickled and found again.
    sys.modules[name] = module
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the caller's file raises is the caller's to mend
        raise InputError(f"{told}: running {path} raised {_told(error)}") from error
    return module


def _module(name: str, told: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{told}: there is no module {error.name!r}; run from the folder that holds it or install it"
        ) from error
    except Exception as error:  # as above
        raise InputError(f"{told}: importing {name} raised {_told(error)}") from error


def _made(function: Callable[[], Any], target: str) -> Problem:
    try:
        made = function()
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"target {target!r}: the function raised {_told(error)}") from error
    if isinstance(made, Problem):
        return made
    if not isinstance(made, Mapping):
        raise InputError(
            f"target {target!r}: the function returned {type(made).__name__}; "
            "it must return an unstuck.Problem or a mapping with its fields (model, loss, train, optimizer, ...)"
        )
    known = {field.name for field in dataclasses.fields(Problem)}
    unknown = sorted(str(key) for key in made if key not in known)
    if unknown:
        raise InputError(
            f"target {target!r}: unknown field {', '.join(unknown)}; a problem has {', '.join(sorted(known))}"
        )
    return Problem(**made)


def _told(error: Exception) -> str:
    """An exception in one line, with the place in the caller's code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else 'no message'}{place}"
