"""Muon for the hidden weight matrices of a network, AdamW for all else, as one optimizer.

Lecture chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """The weights with two axes between the first representation and the outputs, as Muon wants them (Jordan 2024).

    Neither embeddings nor the last matrix, which makes the outputs; a matrix that serves twice is what either is.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for name, p in model.named_parameters() if name.endswith("weight") and p.dim() == 2]
    return [matrix for matrix in matrices[:-1] if id(matrix) not in embeddings and matrix.requires_grad]


class MuonWithAdamW(torch.optim.Optimizer):
    """B ← μB + (1 − μ)G, W ← W − η λ W − 0.2 η √max(m, n) NS₅((1 − μ)G + μB) for hidden m × n matrices W.

    NS₅ are five Newton-Schulz steps, which bring all singular values near 1 (Jordan et al. 2024, "Muon"). All other
    parameters walk by AdamW. The factor makes a step of Muon as long as one of AdamW in the root mean square of its
    entries, so that one rate serves both (Liu et al. 2025, "Muon is scalable for LLM training", equation 4). Lecture
    chapter 3.

    Attributes:
        hidden: the matrices that Muon walks.
        parts: torch's Muon and AdamW, which are lent groups and state for each step.
    """

    def __init__(self, groups: list[dict[str, Any]], hidden: Collection[Tensor], *, momentum: float) -> None:
        """Over parameter groups, each with its ``lr`` and ``weight_decay``; ``momentum`` is μ."""
        self.hidden = frozenset(hidden)
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(list(hidden), momentum=momentum, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW([parameter for group in groups for parameter in group["params"]]),
        )
        super().__init__(groups, self.parts[0].defaults | self.parts[1].defaults)

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            hidden = part is self.parts[0]
            part.state = self.state
            part.param_groups = [
                {**group, "params": [p for p in group["params"] if (p in self.hidden) is hidden]}
                for group in self.param_groups
            ]
            part.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "hidden": self.hidden, "parts": self.parts}
