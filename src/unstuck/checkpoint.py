"""The folder of a training under way: from what stands in it the training goes on, exactly, after it was killed.

``curve.jsonl`` has a row for every update, ``checkpoint.pt`` the state after some of them, and ``recipe.toml`` is the
recipe. A checkpoint is written after the rows that it stands for, and takes the place of the one before in one step:
there is always a whole one. Rows beyond it are made again.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unstuck.data import map_tensors
from unstuck.errors import InputError
from unstuck.report import plain
from unstuck.snapshot import Snapshot
from unstuck.walk import Update

CHECKPOINT, CURVE, RECIPE = "checkpoint.pt", "curve.jsonl", "recipe.toml"

EVERY = 250
"""Updates between checkpoints, where nothing else is said."""

UNREADABLE = (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError)
"""What torch raises at a file that is cut off, or is none of its own, or holds more than tensors and plain values."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training after some of its updates.

    Attributes:
        settings: what it is a training of, as JSON types; a resumed one has to agree.
        snapshot: its state.
        seconds: that it took until then.
    """

    settings: Mapping[str, Any]
    snapshot: Snapshot = field(repr=False)
    seconds: float

    def check_readable(self) -> None:
        """Raise InputError where the state is of more than tensors and plain values, which alone are read back."""
        structure = io.BytesIO()
        try:
            torch.save(map_tensors(lambda tensor: tensor.new_empty(0), vars(self.snapshot)), structure)
            structure.seek(0)
            strange = torch.serialization.get_unsafe_globals_in_checkpoint(structure)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            strange = [str(error)]
        if strange:
            raise InputError(
                f"the state of the optimizer or the scheduler cannot be kept in a checkpoint ({', '.join(strange)}); "
                "train with --checkpoint-every 0, which keeps none"
            )

    def write(self, folder: Path) -> None:
        """In place of the one that is there; whenever it is interrupted, one of both is whole."""
        beside = folder / f"{CHECKPOINT}.partial"
        with beside.open("wb") as file:
            content = {"settings": json.dumps(self.settings), "snapshot": vars(self.snapshot), "seconds": self.seconds}
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(folder / CHECKPOINT)
        _sync(folder)

    @staticmethod
    def read(folder: Path) -> Checkpoint:
        """The one in a folder.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            raise InputError(f"{folder}: holds no {CHECKPOINT} to go on from; give the folder of a training")
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            return Checkpoint(
                settings=json.loads(content["settings"]),
                snapshot=Snapshot(**content["snapshot"]),
                seconds=content["seconds"],
            )
        except UNREADABLE as error:
            raise InputError(
                f"{path}: cannot be read as a checkpoint ({type(error).__name__}); it is cut off, or something else: "
                "train anew"
            ) from error


@dataclass(frozen=True)
class Record:
    """A training that is written down as it goes, in a folder."""

    folder: Path

    def start(self, recipe: str) -> None:
        """Write down what is trained, before the first update.

        Args:
            recipe: the recipe's text.

        Raises:
            InputError: the folder holds a training already.
        """
        if any((self.folder / name).exists() for name in (CHECKPOINT, CURVE, RECIPE)):
            raise InputError(
                f"{self.folder}: this folder holds a training, and none is overwritten; go on with it by "
                f"--resume {self.folder}, or give another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / RECIPE).write_text(recipe, encoding="utf-8")
        (self.folder / CURVE).touch()

    def add(self, made: Iterable[Update]) -> None:
        """Write down updates."""
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(plain(row(update))) + "\n" for update in made)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write down the state after the updates that were added."""
        _sync(self.folder / CURVE)
        checkpoint.write(self.folder)

    def first(self, updates: int) -> tuple[list[Update], int]:
        """The first so many updates of the curve, and the bytes that they take.

        Raises:
            InputError: there are not so many.
        """
        path = self.folder / CURVE
        try:
            with path.open("rb") as file:
                made = [_update(line) for line in itertools.islice(file, updates)]
                if [each.update for each in made] != list(range(updates)):
                    raise ValueError(f"its rows end, or are out of order, before row {updates}")
                return made, file.tell()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: does not hold the {updates} updates that the checkpoint beside it stands after "
                f"({error}); train anew"
            ) from error

    def go_on(self, recipe: str, size: int) -> None:
        """Cut the curve off after so many bytes: what follows is made again, and may end within a row.

        Args:
            recipe: its text, for as many updates as are asked for now.
            size: of the rows that stay.
        """
        (self.folder / RECIPE).write_text(recipe, encoding="utf-8")
        os.truncate(self.folder / CURVE, size)


def row(made: Update) -> dict[str, float]:
    """An update as a row of a stored curve."""
    return {"update": made.update, "loss": made.loss, "rate": made.rate, "gradient_norm": made.gradient_norm}


def _update(line: bytes) -> Update:
    """Back from a row of a curve; numbers are written with all their digits."""
    found = json.loads(line)
    return Update(**{name: found[name] for name in ("update", "loss", "rate", "gradient_norm")}, cosine=math.nan)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # which opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
