"""Half a million letters of English: the help texts that CPython brings along."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

LETTERS = tuple("\n" + "".join(map(chr, range(32, 127))))
"""What is told apart; anything else is left out."""


@cache
def text() -> Tensor:
    """The language reference's topics as numbers of :data:`LETTERS`, shape (letters,).

    They differ a little from one version of Python to the next.
    """
    from pydoc_data import topics  # half a megabyte

    numbers = {letter: number for number, letter in enumerate(LETTERS)}
    written = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    return torch.tensor([numbers[letter] for letter in written if letter in numbers], device="cpu")
