"""The data that studies are made on: what is at hand everywhere, or made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from unstuck.datasets.classification import Classification
from unstuck.datasets.digits import digits
from unstuck.datasets.idx import FASHION, from_folder
from unstuck.datasets.waves import waves
from unstuck.errors import InputError

DEFAULT = "digits"

BUILT_IN: Mapping[str, Callable[[], Classification]] = {
    DEFAULT: digits,
    "waves": waves,
    "fashion-mnist": lambda: from_folder(FASHION),
}


def load(name: str) -> Classification:
    """A classification by name, or from a folder with files like MNIST's.

    Raises:
        InputError: there is neither such data nor such a folder, or its files are something else.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if Path(name).is_dir():
        return from_folder(Path(name))
    raise InputError(f"data {name!r}: give {', '.join(BUILT_IN)}, or a folder with files like MNIST's")
