"""A small Transformer that learns which letter comes next.

Lecture chapter 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unstuck.datasets.text import LETTERS, text
from unstuck.untouched import seeded

CONTEXT, WIDTH, HEADS = 32, 32, 4
"""Letters that it sees, numbers for each of them, and heads of attention."""


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to what came in.

    Normalized behind each sum, x ↦ norm(x + f(x)), as in Vaswani et al. 2017 (post-norm), or before each part,
    x ↦ x + f(norm(x)) (pre-norm; Xiong et al. 2020, table 1).
    """

    mask: Tensor

    def __init__(self, width: int, pre: bool) -> None:
        super().__init__()
        self.pre = pre
        self.attended, self.joined = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.inward, self.outward = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        for linear in (self.attended, self.joined, self.inward, self.outward):
            nn.init.xavier_normal_(linear.weight)
        later = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool, device="cpu").triu(1)
        self.register_buffer("mask", torch.zeros(CONTEXT, CONTEXT, device="cpu").masked_fill(later, -torch.inf))

    def forward(self, values: Tensor) -> Tensor:
        """Shape (samples, CONTEXT, width), as what is given back."""
        if self.pre:
            values = values + self._attention(self.first(values))
            return values + self._network(self.second(values))
        values = self.first(values + self._attention(values))
        normalized: Tensor = self.second(values + self._network(values))
        return normalized

    def _attention(self, values: Tensor) -> Tensor:
        """Each letter looks at itself and at those before it."""
        parts = self.attended(values).unflatten(-1, (3, HEADS, -1))
        queries, keys, held = parts.permute(2, 0, 3, 1, 4)
        scores = queries @ keys.mT / keys.shape[-1] ** 0.5 + self.mask
        joined: Tensor = self.joined((scores.softmax(-1) @ held).transpose(1, 2).flatten(2))
        return joined

    def _network(self, values: Tensor) -> Tensor:
        outward: Tensor = self.outward(torch.relu(self.inward(values)))
        return outward


class Transformer(nn.Module):
    """Letters as numbers, shape (samples, CONTEXT), to the logits of the next ones, (samples, CONTEXT, letters)."""

    def __init__(self, depth: int, *, pre: bool, width: int = WIDTH) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), width)
        self.places = nn.Parameter(torch.randn(CONTEXT, width, device="cpu"))
        self.layers = nn.Sequential(*(Layer(width, pre) for _ in range(depth)))
        self.normalized = nn.LayerNorm(width) if pre else nn.Identity()
        self.logits = nn.Linear(width, len(LETTERS))
        nn.init.xavier_normal_(self.logits.weight)

    def forward(self, letters: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.logits(self.normalized(self.layers(self.letters(letters) + self.places)))
        return logits


def windows() -> tuple[Tensor, Tensor]:
    """All text in pieces: letters, and for each the next one, both of shape (pieces, CONTEXT)."""
    written = text()
    pieces = written[: len(written) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    return pieces[:, :-1], pieces[:, 1:]


def next_letter(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each sample's letters, in nats, shape (samples,)."""
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def letters_alone(targets: Tensor) -> float:
    """The loss of one who knows how frequent each letter is, and nothing else: the entropy, in nats."""
    shares = targets.flatten().bincount(minlength=len(LETTERS)).double() / targets.numel()
    return float(-torch.special.xlogy(shares, shares).sum())


def last_gradient(depth: int, *, pre: bool, seed: int, width: int = WIDTH, samples: int = 8) -> float:
    """‖∂L/∂W‖ of the last feed-forward matrix of an untrained Transformer (Xiong et al. 2020, theorem 1)."""
    inputs, targets = windows()
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randint(len(inputs), (samples,), generator=generator, device="cpu")
    with seeded(seed):
        model = Transformer(depth, pre=pre, width=width)
    matrix = model.layers[-1].get_parameter("outward.weight")
    loss = next_letter(model(inputs[drawn]), targets[drawn]).mean()
    (gradient,) = torch.autograd.grad(loss, [matrix])
    return float(gradient.norm())
