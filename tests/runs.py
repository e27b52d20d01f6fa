"""What runs do when the driver is tested: functions of settings, by name, which count how often they were called."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unstuck.driver import drive
from unstuck.executor import workers
from unstuck.ledger import Ledger

Settings = Mapping[str, Any]

MEETING = threading.Barrier(2, timeout=60)


def square(settings: Settings) -> dict[str, Any]:
    """A result that settings decide."""
    return {"square": settings["x"] ** 2}


def logged(settings: Settings) -> dict[str, Any]:
    """The same, and a line in a file, which one write appends whole."""
    with Path(settings["log"]).open("a", encoding="utf-8") as log:
        log.write(f"{settings['x']}\n")
    return square(settings)


def logged_slowly(settings: Settings) -> dict[str, Any]:
    """The same after a hundredth of a second of work, in which its process may be killed."""
    for number in range(200_000):
        number * number
    return logged(settings)


def meeting(settings: Settings) -> dict[str, Any]:
    """Goes on once another run is here as well."""
    MEETING.wait()
    return square(settings)


def wrong(settings: Settings) -> dict[str, Any]:
    """Raises what cannot be pickled, for one x; leaves the program for another; gives no JSON for a third."""

    class Local(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("no good")

    if settings["x"] == 1:
        raise Local(1, 2)
    if settings["x"] == 2:
        sys.exit(3)
    return {"square": float("nan") if settings["x"] == 3 else settings["x"] ** 2}


def once_wrong(settings: Settings) -> dict[str, Any]:
    """Raises when it is called first."""
    return _unless_first(settings, _raise)


def once_deadly(settings: Settings) -> dict[str, Any]:
    """Kills its process when it is called first, for one x; always for another."""
    if settings["x"] == 2:
        _die()
    return _unless_first(settings, _die) if settings["x"] == 1 else square(settings)


def gated(settings: Settings) -> dict[str, Any]:
    """Blocks for good, after it has told its process, while a file is not there; x = 0 does not."""
    folder = Path(settings["folder"])
    if settings["x"] > 0 and not (folder / "open").exists():
        with (folder / "told").open("w", encoding="utf-8") as told:
            told.write(f"{os.getpid()}\n")
        signal.pause()
    return square(settings)


def _unless_first(settings: Settings, otherwise: Callable[[], None]) -> dict[str, Any]:
    mark = Path(settings["folder"]) / f"called-{settings['x']}"
    if not mark.exists():
        mark.touch()
        otherwise()
    return square(settings)


def _raise() -> None:
    raise OSError("not yet")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    with Ledger(Path(sys.argv[1])) as ledger:
        drive(ledger, sys.argv[2], workers(jobs=2))
