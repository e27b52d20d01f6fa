"""The pictures of a proof: the response over the dose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go

from unstuck import plot
from unstuck.proof import Proof


def drawn(proofs: Iterable[Proof]) -> dict[str, go.Figure]:
    """The pictures of the elements that have one, by their names."""
    return {
        proof.element: _doses(proof.numbers, proof.says)
        for proof in proofs
        if proof.element == "dose-response" and proof.numbers
    }


def _doses(numbers: Mapping[str, Any], says: str) -> go.Figure:
    """Own loss at the end over the dose, with the range over orders; the untouched arm's across."""
    setting, doses = numbers["setting"], [abs(dose) for dose in numbers["doses"]]
    figure = plot.figure(
        title="Dose and response",
        x=setting,
        y="loss on the fixed sample",
        log_x=True,
        summary=f"{says[:1].upper()}{says[1:]}.",
    )
    arms: tuple[tuple[str, plot.Role, Any], ...] = (
        ("as it is", "untouched", [numbers["untouched"]] * len(doses)),
        ("treated", "treated", numbers["losses"]),
    )
    for name, role, losses in arms:
        plot.line_with_spread(
            figure,
            doses,
            [sum(ends) / len(ends) for ends in losses],
            [min(ends) for ends in losses],
            [max(ends) for ends in losses],
            name=name,
            role=role,
        )
    return figure
