"""Figures as readings and trials draw them, for the tests of the page."""

import numpy as np
import plotly.graph_objects as go

from unstuck import plot

UPDATES = np.arange(0, 241, 4)


def sample_figures(name: str) -> dict[str, object]:
    """Lines with spreads, bars, contours, and a surface; `name` is written into titles and hover texts."""
    drawn = {
        "trials": _curves(),
        "dose-response": _doses(),
        "spectrum": _spectrum(name),
        "step": _step(),
        "landscape": _landscape(),
        "landscape-surface": _surface(),
        "layers": _layers(),
    }
    return {key: plot.stored(figure) for key, figure in drawn.items()}


def _curves() -> go.Figure:
    random = np.random.default_rng(7)
    figure = plot.figure(
        title="Training loss after the branch",
        x="update",
        y="loss",
        log_y=True,
        summary="From update 0 the untouched arm stays near 1.9; the treated one falls to 0.12.",
    )
    walks = {
        "untouched": ("untouched", 1.94 + 0.12 * random.standard_normal(UPDATES.size)),
        "a/a": ("again", 1.93 + 0.12 * random.standard_normal(UPDATES.size)),
        "lower-learning-rate": ("treated", 0.11 + 1.85 * np.exp(-UPDATES / 45)),
        "raise-learning-rate": ("opposite", 2.8 - 0.8 * np.exp(-UPDATES / 30)),
    }
    for label, (role, middle) in walks.items():
        spread = 0.03 + 0.06 * middle
        plot.line_with_spread(
            figure,
            UPDATES,
            middle,
            middle - spread,
            middle + spread,
            name=label,
            role=role,  # type: ignore[arg-type]
        )
    return figure


def _doses() -> go.Figure:
    figure = plot.figure(title="Dose and response", x="factor", y="loss", log_x=True, summary="The best is a tenth.")
    plot.line_with_spread(
        figure, [0.01, 0.1, 1], [1.1, 0.12, 1.9], [1.0, 0.1, 1.8], [1.2, 0.14, 2.0], name="treated", role="treated"
    )
    return figure


def _spectrum(name: str) -> go.Figure:
    values = np.sort(np.random.default_rng(3).gamma(0.3, 4.0, 60))[::-1] - 0.6
    figure = plot.figure(title=f"Eigenvalues of the Hessian of {name}", x="rank", y="eigenvalue (loss / unit²)")
    figure.add_bar(
        x=np.arange(1, 61),
        y=values,
        name=name,
        marker={"color": plot.COLOURS["accent"]},
        hovertemplate=f"{name}: %{{y:.3g}}<extra></extra>",
    )
    return figure


def _step() -> go.Figure:
    lengths = np.linspace(-0.5, 2, 51)
    figure = plot.figure(
        title="Loss along the next step",
        x="step lengths",
        y="loss",
        summary="The loss is lowest after 7 % of the step the optimizer takes, and twice as high after it.",
    )
    plot.line(figure, lengths, 1.9 + 2.2 * (lengths - 0.07) ** 2, name="loss")
    figure.add_vline(x=1, line={"color": plot.COLOURS["neutral"], "dash": "dash", "width": 1})
    figure.add_annotation(x=1, y=1, yref="paper", text="the step taken", showarrow=False, xanchor="left", xshift=4)
    return figure


def _plane() -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(-1, 1, 41)
    one, other = np.meshgrid(axis, axis)
    return axis, 1.2 + one**2 * 3 + other**2 * 0.4 + 0.3 * np.sin(5 * one) * np.cos(3 * other)


def _landscape() -> go.Figure:
    axis, loss = _plane()
    figure = plot.figure(
        title="The surface around the point",
        x="first eigenvector",
        y="second eigenvector",
        summary="A steep valley.",
    )
    figure.add_contour(x=axis, y=axis, z=loss)
    return figure


def _surface() -> go.Figure:
    axis, loss = _plane()
    figure = plot.figure(title="The same surface in three dimensions", x="", y="", summary="A steep valley.")
    figure.update_scenes(xaxis_title="first eigenvector", yaxis_title="second eigenvector", zaxis_title="loss")
    figure.add_surface(x=axis, y=axis, z=loss)
    return figure


def _layers() -> go.Figure:
    layers = ["body.0", "body.2", "body.4", "<lambda>", "head"]
    figure = plot.figure(title="Gradient norm of each layer", x="layer", y="gradient norm (loss / unit)", log_y=True)
    figure.add_bar(x=layers, y=[0.83, 0.61, 0.44, 0.38, 1.02], name="gradient norm")
    return figure
