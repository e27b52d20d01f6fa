"""What the hosts of the ward learn: small data sets, generated, so that nothing is downloaded.

Each is drawn under a seed of its own: another seed is another draw of samples from the same source.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pydoc_data import topics

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLES, HELD_OUT = 4_096, 1_024

Samples = tuple[Tensor, Tensor]
"""Inputs and targets, as long as each other."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Samples to learn from, and held-out ones of the same source."""

    train: Samples
    valid: Samples


def _split(inputs: Tensor, targets: Tensor) -> Task:
    return Task(
        train=(inputs[:SAMPLES].clone(), targets[:SAMPLES].clone()),
        valid=(inputs[SAMPLES:].clone(), targets[SAMPLES:].clone()),
    )


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FEATURES, KINDS = 20, 4
"""Of :func:`teacher`."""


def teacher(seed: int) -> Task:
    """Standard normal features, shape (n, 20), and the class, of four, that a fixed random network gives them."""
    fixed, drawn = _drawn(0), _drawn(seed + 1)
    inward = torch.randn(FEATURES, 6, generator=fixed, device="cpu") / FEATURES**0.5
    outward = torch.randn(6, KINDS, generator=fixed, device="cpu")
    inputs = torch.randn(SAMPLES + HELD_OUT, FEATURES, generator=drawn, device="cpu")
    return _split(inputs, (torch.tanh(2 * inputs @ inward) @ outward).argmax(1))


GLYPHS = (
    *("111101101101111", "010110010010111", "111001111100111", "111001111001111", "101101111001001"),
    *("111100111001111", "111100111101111", "111001010010010", "111101111101111", "111101111001111"),
)
"""The digits in three columns and five rows."""

SIDE = 8
"""Pixels of an image's side."""


def glyphs(seed: int) -> Task:
    """Digits, shape (n, 1, 8, 8), somewhere in the image, of varying strength, under noise; ten classes."""
    drawn, count = _drawn(seed + 1), SAMPLES + HELD_OUT
    shapes = torch.tensor([[float(bit) for bit in glyph] for glyph in GLYPHS], device="cpu").view(10, 5, 3)
    targets = torch.randint(10, (count,), generator=drawn, device="cpu")
    images = 0.3 * torch.randn(count, SIDE, SIDE, generator=drawn, device="cpu")
    rows = torch.randint(SIDE - 4, (count,), generator=drawn, device="cpu").tolist()
    columns = torch.randint(SIDE - 2, (count,), generator=drawn, device="cpu").tolist()
    strengths = 1 + torch.rand(count, generator=drawn, device="cpu")
    for number, (row, column, target) in enumerate(zip(rows, columns, targets.tolist(), strict=True)):
        images[number, row : row + 5, column : column + 3] += strengths[number] * shapes[target]
    images = (images - images.mean()) / images.std()
    return _split(images[:, None], targets)


LENGTH, WAVES = 32, 8
"""Of :func:`waves`."""


def waves(seed: int) -> Task:
    """One of eight smooth shapes, shape (n, 1, 32), shifted, stretched in height, and under noise (as MNIST-1D's)."""
    fixed, drawn, count = _drawn(3), _drawn(seed + 1), SAMPLES + HELD_OUT
    shapes = F.interpolate(
        torch.randn(WAVES, 1, 7, generator=fixed, device="cpu"), size=24, mode="linear", align_corners=True
    )[:, 0]
    targets = torch.randint(WAVES, (count,), generator=drawn, device="cpu")
    heights = 0.75 + 0.5 * torch.rand(count, 1, generator=drawn, device="cpu")
    padded = F.pad(heights * shapes[targets], (0, LENGTH - 24))
    shifts = torch.randint(LENGTH - 24, (count, 1), generator=drawn, device="cpu")
    places = (torch.arange(LENGTH, device="cpu") - shifts) % LENGTH
    signals = padded.gather(1, places) + 0.4 * torch.randn(count, LENGTH, generator=drawn, device="cpu")
    signals = (signals - signals.mean()) / signals.std()
    return _split(signals[:, None], targets)


STEPS, SYMBOLS = 10, 6
"""Of :func:`recall`."""


def recall(seed: int) -> Task:
    """Symbols as one-hot vectors under noise, shape (n, 10, 6); the class is the first of them."""
    drawn, count = _drawn(seed + 1), SAMPLES + HELD_OUT
    symbols = torch.randint(SYMBOLS, (count, STEPS), generator=drawn, device="cpu")
    inputs = F.one_hot(symbols, SYMBOLS).float()
    inputs += 0.35 * torch.randn(inputs.shape, generator=drawn, device="cpu")
    return _split((inputs - inputs.mean()) / inputs.std(), symbols[:, 0])


CONTEXT, LETTERS = 16, " abcdefghijklmnopqrstuvwxyz."
"""Of :func:`text`: characters that are read, and those that there are."""


@cache
def _prose() -> Tensor:
    """Python's own help as numbers of :data:`LETTERS`; what is no letter ends a sentence or is a space."""
    words = " ".join(topics.topics[name] for name in sorted(topics.topics)).lower()
    plain = re.sub(r"[^a-z.]+", " ", words)
    return torch.tensor([LETTERS.index(character) for character in plain], device="cpu")


def text(seed: int) -> Task:
    """16 characters of English, shape (n, 16), and at each place the next one; its letter depends on the Python."""
    prose, drawn = _prose(), _drawn(seed + 1)
    starts = torch.randint(len(prose) - CONTEXT - 1, (SAMPLES + HELD_OUT, 1), generator=drawn, device="cpu")
    windows = prose[starts + torch.arange(CONTEXT + 1, device="cpu")]
    return _split(windows[:, :-1], windows[:, 1:])


OBSERVED, HIDDEN = 24, 3
"""Of :func:`surface`."""


def surface(seed: int) -> Task:
    """Points on a curved surface of three dimensions, seen in 24 under a little noise; targets are the points."""
    fixed, drawn = _drawn(5), _drawn(seed + 1)
    inward = torch.randn(HIDDEN, 16, generator=fixed, device="cpu")
    outward = torch.randn(16, OBSERVED, generator=fixed, device="cpu") / 4
    latent = torch.randn(SAMPLES + HELD_OUT, HIDDEN, generator=drawn, device="cpu")
    points = torch.tanh(latent @ inward) @ outward
    points = (points - points.mean(0)) / points.std(0)
    points += 0.1 * torch.randn(points.shape, generator=drawn, device="cpu")
    return _split(points, points)


SUBJECTS = ("assignment", "compound", "debugger", "formatstrings", "import", "specialnames", "string-methods", "types")
"""Of Python's own help."""

WINDOW, VOCABULARY = 20, 512
"""Of :func:`subject`: words that are read, and numbers for them; 0 stands for all that are rare."""


@cache
def _pages() -> tuple[Tensor, ...]:
    """Each of :data:`SUBJECTS` as numbers of its words, the most frequent first."""
    pages = [re.findall("[a-z]+", topics.topics[name].lower()) for name in SUBJECTS]
    counts = Counter(word for page in pages for word in page)
    numbers = {word: place + 1 for place, (word, _) in enumerate(counts.most_common(VOCABULARY - 1))}
    return tuple(torch.tensor([numbers.get(word, 0) for word in page], device="cpu") for page in pages)


def subject(seed: int) -> Task:
    """20 words in a row, shape (n, 20), and which of eight pages of Python's help they are from."""
    drawn, pages = _drawn(seed + 1), _pages()
    targets = torch.randint(len(pages), (SAMPLES + HELD_OUT,), generator=drawn, device="cpu")
    places = torch.rand(len(targets), generator=drawn, device="cpu")
    starts = (places * torch.tensor([len(page) - WINDOW for page in pages], device="cpu")[targets]).long().tolist()
    words = [pages[page][start : start + WINDOW] for page, start in zip(targets.tolist(), starts, strict=True)]
    return _split(torch.stack(words), targets)


PATCHES, PATCH, ASKED = 8, 6, 4
"""Of :func:`vibrations`."""


def vibrations(seed: int) -> Task:
    """Damped vibrations x(t) = o + a e^(-dt) sin(2πft + φ) under noise, cut into patches, shape (n, 8, 6); what is
    asked for are a, d, f and o, standardized, shape (n, 4).
    """
    drawn, count = _drawn(seed + 1), SAMPLES + HELD_OUT
    uniform = torch.rand(ASKED + 1, count, 1, generator=drawn, device="cpu")
    height, damping, frequency, offset = 0.5 + uniform[0], 3 * uniform[1], 2 + 3 * uniform[2], uniform[3] - 0.5
    times = torch.linspace(0, 1, PATCHES * PATCH, device="cpu")
    waves = torch.sin(2 * math.pi * (frequency * times + uniform[4]))
    signals = offset + height * torch.exp(-damping * times) * waves
    signals += 0.05 * torch.randn(signals.shape, generator=drawn, device="cpu")
    signals = (signals - signals.mean()) / signals.std()
    asked = uniform[:ASKED, :, 0].T
    return _split(signals.view(count, PATCHES, PATCH), (asked - 0.5) * 12**0.5)
