"""The pictures of a proof: what moves first, and the response over the dose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import plotly.graph_objects as go

from unstuck import plot
from unstuck.proof import Element, Proof


def drawn(proofs: Iterable[Proof]) -> dict[str, go.Figure]:
    """The pictures of the elements that have one, by their names."""
    found = {proof.element: proof for proof in proofs if proof.numbers}
    return {
        element: draw(found[element].numbers, found[element].says)
        for element, draw in DRAWN.items()
        if element in found
    }


def _first(numbers: Mapping[str, Any], says: str) -> go.Figure:
    """The mediator and the loss of the treated walk, each as a share of the farthest that it got."""
    figure = plot.figure(title="What moves first", x="update", y="share of its way", summary=_sentence(says))
    ways: tuple[tuple[str, str, plot.Role], ...] = (
        ("what the cause works through", "moved", "treated"),
        ("the loss", "fallen", "neutral"),
    )
    for name, way, role in ways:
        if numbers[way]:
            plot.line(figure, numbers["updates"], numbers[way], name=name, role=role)
            figure.data[-1].mode = "lines+markers"
    return figure


def _doses(numbers: Mapping[str, Any], says: str) -> go.Figure:
    """Own loss at the end over the dose, with the range over orders; the untouched arm's across."""
    setting, doses = numbers["setting"], [abs(dose) for dose in numbers["doses"]]
    figure = plot.figure(
        title="Dose and response",
        x=setting,
        y="loss on the fixed sample",
        log_x=True,
        summary=_sentence(says),
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


def _sentence(says: str) -> str:
    return f"{says[:1].upper()}{says[1:]}."


DRAWN: Mapping[Element, Callable[[Mapping[str, Any], str], go.Figure]] = {"mediator": _first, "dose-response": _doses}
