"""Where torchrun has started several processes: all of them load a target, and the first one writes and speaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from unstuck.errors import InputError

if TYPE_CHECKING:
    from unstuck.problem import Problem


def speaks() -> bool:
    """Whether this process writes and speaks: the only one there is, or the first one."""
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or os.environ.get("RANK", "0") == "0"


def load_together(target: str, at_the_end: Callable[[Callable[[], None]], object]) -> Problem:
    """Load a target on every process; where it fails on one, it fails on all.

    A target may make the process group itself or rely on there being one: it is called without, and where it fails,
    once more with one.

    Args:
        target: where the problem comes from.
        at_the_end: takes what leaves the process group, where it was made here.

    Raises:
        InputError: the target cannot be loaded.
    """
    from unstuck.ranks import join, ranks

    problem: Problem | None = None
    failure: InputError | None = None
    try:
        problem = _load(target)
    except InputError as error:
        failure = error
    leave = join()
    if leave is not None:
        at_the_end(leave)
        if ranks().sum(failure is not None):
            problem, failure = None, None
    with ranks().together():
        if failure is not None:
            raise failure
        return problem or _load(target)


def _load(target: str) -> Problem:
    from unstuck.target import load

    try:
        return load(target)
    except SystemExit as stop:
        raise InputError(
            f"target {target!r}: its code ends the program (exit {stop.code}); "
            'put what is not part of the problem under `if __name__ == "__main__":`'
        ) from stop
