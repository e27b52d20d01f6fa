"""Files like MNIST's: a header of sizes, then bytes, compressed or not."""

from __future__ import annotations

import gzip
import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unstuck.datasets.classification import Classification, standardized
from unstuck.errors import InputError

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts it."""

BYTES = 8
"""The code of unsigned bytes, in the third place of a header; the fourth is the number of sizes, four bytes each."""


@cache
def from_folder(folder: Path) -> Classification:
    """A classification from ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and ``t10k-…``, or their ``.gz``.

    Raises:
        InputError: a file is missing, or is something else, or images and labels do not fit.
    """
    images, labels = (_read(folder, f"train-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    held_out, held_out_labels = (_read(folder, f"t10k-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    for some, named in ((images, labels), (held_out, held_out_labels)):
        if len(some) != len(named) or not len(some):
            raise InputError(f"data {folder}: there are {len(some)} images and {len(named)} labels; they must pair")
    learned, others = standardized(images.float().flatten(1), held_out.float().flatten(1))
    return Classification(
        name=folder.name,
        inputs=learned,
        targets=labels.long(),
        held_out_inputs=others,
        held_out_targets=held_out_labels.long(),
        classes=int(labels.max()) + 1,
        shape=(1, *images.shape[1:]),
    )


def _read(folder: Path, name: str) -> Tensor:
    found = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if found is None:
        advice = "; install Debian's dataset-fashion-mnist, or give another folder" if folder == FASHION else ""
        raise InputError(f"data {folder}: there is no {name} and no {name}.gz{advice}")
    try:
        content = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"data {found}: it cannot be read ({error})") from error
    sizes = content[3] if len(content) > 3 and content[2] == BYTES else 0
    first = 4 * (1 + sizes)
    shape = tuple(int(size) for size in np.frombuffer(content[4:first], ">u4"))
    if not sizes or len(content) != first + math.prod(shape):
        raise InputError(f"data {found}: this is no file of bytes like MNIST's; give another")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=first).reshape(shape).copy())
