"""Critical batch: up to which size a larger batch saves updates in proportion, and whether the gradients' noise tells.

With G the gradient over all data and Σ the covariance of one sample's gradient, the noise scale is tr Σ / ‖G‖². A loss
is reached after S_min (1 + B_crit / B) updates, and B_crit should be near the noise scale (McCandlish et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from unstuck import datasets, plot
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.fleet_network import Network
from unstuck.methods.update import gradient_descent
from unstuck.numerics.fit import Line, weighted_line
from unstuck.numerics.noise import gradient_noise
from unstuck.study import Gate, Measurement, Run, Runs, Study
from unstuck.study.experiments.networks import cross_entropy, perceptron

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

QUICK_SIZES = (1, 4, 16, 64, 128, 512)

MOST = 1_297
"""Samples to learn from: as many as there are digits."""

WIDTH = 64

RATES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Each size trains with each of them; the one that gets to the loss first counts."""

GOAL = 0.2
"""Training loss over all data that is to be reached."""

SHORTEST, LONGEST = 160, 1_200
"""Updates that are made with large batches, and with single samples."""

STEP = 1.03
"""Factor from one look at the loss to the next, in updates."""

WALK = 64
"""Batch of the walk along which noise is measured."""

FEW, MANY = (1, 8), (128, 512)
"""Ranges of sizes far below and above the critical one, in which the slope is taken."""

SMALL, BIG, DRAWS = 16, 256, 400
"""Batches of both sizes from whose gradients the noise scale is estimated, and how often they are drawn."""


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """All sizes of one seed in one run."""
    return [{"seed": seed, "sizes": list(QUICK_SIZES if quick else SIZES)} for seed in seeds]


def run(seed: int, sizes: Sequence[int], data: str = datasets.DEFAULT) -> dict[str, Any]:
    """How many updates each size takes, and how noisy gradients are meanwhile."""
    whole = datasets.load(data)
    inputs, targets = whole.inputs[:MOST], whole.targets[:MOST]
    found: dict[str, Any] = {"sizes": list(sizes), "updates": [], "rates": []}
    for size in sizes:
        longest = SHORTEST + LONGEST // size
        looks = sorted({round(STEP**power) for power in range(int(math.log(longest) / math.log(STEP)))} | {0, longest})
        fleet = train_fleet(
            lambda: perceptron((whole.features, WIDTH, whole.classes)),
            cross_entropy,
            inputs,
            targets,
            [Member(rule=gradient_descent(rate), batch_size=size, seed=seed) for rate in RATES],
            longest,
            keep=looks,
        )
        steps = updates_to(GOAL, looks, _losses(fleet, looks, inputs, targets))
        best = int(np.argmin(steps))
        found["updates"].append(steps[best])
        found["rates"].append(RATES[best])
        if size == WALK:
            found["noise"] = _noise(fleet, best, steps[best], inputs, targets)
            start = sample_gradients(fleet.network, fleet.kept[0][0][best], inputs, targets)
            found["estimated"] = estimated_scale(start, seed) / noise_scale(start)
    return found | {"errors": closed_forms(seed)}


def _losses(fleet: Fleet, looks: Sequence[int], inputs: Tensor, targets: Tensor) -> Tensor:
    """Over all data, of each network at each look, shape (looks, K), until one has long reached the goal."""
    network = fleet.network
    loss = vmap(lambda row: cross_entropy(_outputs(network, row, inputs), targets).mean())
    rows: list[Tensor] = []
    for updates in looks:
        rows.append(loss(fleet.kept[updates][0]))
        if bool((rows[-1] < GOAL / 2).any()):
            break
    return torch.stack(rows)


def _outputs(network: Network, row: Tensor, inputs: Tensor) -> Tensor:
    outputs: Tensor = functional_call(network.model, network.named(row), (inputs,))
    return outputs


def updates_to(goal: float, looks: Sequence[int], losses: Tensor) -> list[float]:
    """Updates after which a loss is at the goal for the first time, between looks by its logarithm; infinite if never.

    Args:
        goal: below the first losses.
        looks: updates made before each look, shape (L,).
        losses: shape (L or fewer, K); what is not finite is no loss.
    """
    steps = []
    for curve in losses.nan_to_num(math.inf).T.tolist():
        at = next((place for place, loss in enumerate(curve) if loss <= goal), None)
        if at is None:
            steps.append(math.inf)
            continue
        above, below = math.log(curve[at - 1]), math.log(curve[at])
        share = (above - math.log(goal)) / (above - below) if math.isfinite(above) else 1.0
        steps.append(looks[at - 1] + share * (looks[at] - looks[at - 1]))
    return steps


def _noise(fleet: Fleet, member: int, steps: float, inputs: Tensor, targets: Tensor) -> dict[str, list[float]]:
    """The noise scale along a walk, at some looks until four times the updates to the goal."""
    looks = [updates for updates in sorted(fleet.kept) if updates <= 4 * steps]
    thinned = sorted({looks[int(place)] for place in np.linspace(0, len(looks) - 1, 24)})
    rows = [fleet.kept[updates][0][member] for updates in thinned]
    return {
        "updates": [float(updates) for updates in thinned],
        "scale": [noise_scale(sample_gradients(fleet.network, row, inputs, targets)) for row in rows],
        "loss": [float(cross_entropy(_outputs(fleet.network, row, inputs), targets).mean()) for row in rows],
    }


def sample_gradients(network: Network, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample's loss, shape (samples, n)."""

    def loss(row: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(_outputs(network, row, x[None]), y[None]).mean()

    gradients: Tensor = vmap(grad(loss), in_dims=(None, 0, 0))(row, inputs, targets)
    return gradients


def noise_scale(rows: Tensor) -> float:
    """tr Σ / ‖G‖² over all samples there are, whose gradients are the rows: nothing is estimated."""
    mean = rows.mean(0)
    return float((rows - mean).square().sum(1).mean() / mean.square().sum())


def estimated_scale(rows: Tensor, seed: int) -> float:
    """The same from two batch sizes, as on many machines (McCandlish et al. 2018, appendix A.1).

    With the squared norms of both gradients in the mean over all draws, ‖G‖² ≈ (B ‖g_B‖² − b ‖g_b‖²) / (B − b) and
    tr Σ ≈ (‖g_b‖² − ‖g_B‖²) / (1/b − 1/B).
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    small, big = (
        np.mean(
            [
                float(rows[torch.randint(len(rows), (size,), generator=generator, device="cpu")].mean(0).square().sum())
                for _ in range(DRAWS)
            ]
        )
        for size in (SMALL, BIG)
    )
    signal = (BIG * big - SMALL * small) / (BIG - SMALL)
    return float((small - big) / (1 / SMALL - 1 / BIG) / signal)


def closed_forms(seed: int, features: int = 20, noise: float = 0.5) -> dict[str, float]:
    """Relative errors of what is simulated, where theory is exact: linear regression on x ~ N(0, I), y = noise alone.

    With D the way to the minimum, a sample's gradient is x (x·D − s ε), and tr Σ / ‖G‖² = d + 1 + d s² / ‖D‖². Without
    noise an update of gradient descent multiplies the mean of ‖D‖² by 1 − 2η + η² (1 + (d + 1)/B), which is least at
    η = 1 / (1 + (d + 1)/B). In one dimension of curvature λ, ‖D‖² comes to rest at η s² / (B λ (2 − η λ)).
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")

    away = normal(features)
    away /= away.norm()
    x = normal(2_000, 100, features)
    batches = (x * (x @ away - noise * normal(2_000, 100))[..., None]).mean(1)
    scale = gradient_noise((batches @ batches.T).numpy(), np.full(2_000, 100.0)).scale.value
    rate, size = 0.1, 4
    x = normal(50_000, size, features)
    moved = away - rate * (x * (x @ away)[..., None]).mean(1)
    factor = 1 - 2 * rate + rate**2 * (1 + (features + 1) / size)
    curvature, place = 2.0, normal(20_000)
    for _ in range(100):
        place = place - rate * (curvature * place + noise / size**0.5 * normal(20_000))
    rest = rate * noise**2 / (size * curvature * (2 - rate * curvature))
    return {
        "noise scale": abs(scale / (features + 1 + features * noise**2) - 1),
        "decrease": abs(float(moved.square().sum(1).mean()) / factor - 1),
        "rest": abs(float(place.square().mean()) / rest - 1),
    }


def fitted(run: Run) -> Line:
    """S = S_min + S_min B_crit · (1/B), relative errors alike."""
    sizes, updates = run.result["sizes"], run.result["updates"]
    known = [(1 / size, steps) for size, steps in zip(sizes, updates, strict=True) if steps is not None]
    return weighted_line([x for x, _ in known], [y for _, y in known], [1 / y**2 for _, y in known])


def slope(run: Run, sizes: tuple[int, int]) -> float:
    """Of log updates over log batch size, by least squares between two sizes."""
    known = [
        (math.log(size), math.log(math.inf if steps is None else steps))
        for size, steps in zip(run.result["sizes"], run.result["updates"], strict=True)
        if sizes[0] <= size <= sizes[1]
    ]
    return float(np.polyfit([x for x, _ in known], [y for _, y in known], 1)[0])


def scale_on_the_way(run: Run) -> float:
    """The noise scale from the start to the goal, in the geometric mean over the looks."""
    noise = run.result["noise"]
    steps = run.result["updates"][run.result["sizes"].index(WALK)]
    scales = [scale for updates, scale in zip(noise["updates"], noise["scale"], strict=True) if updates <= steps]
    return float(np.exp(np.log(scales).mean()))


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def of(name: str, says: str, value: Callable[[Run], float], unit: str = "") -> Measurement:
        return Measurement(name=name, says=says, values={run.seed: value(run) for run in runs}, unit=unit)

    def rate(run: Run, size: int) -> float:
        return float(run.result["rates"][run.result["sizes"].index(size)])

    return [
        of("slope for small batches", f"log updates over log size, {FEW[0]} to {FEW[1]}", lambda run: slope(run, FEW)),
        of("slope for large batches", f"the same, {MANY[0]} to {MANY[1]}", lambda run: slope(run, MANY)),
        of(
            "critical batch over noise scale",
            "B_crit of the fit over tr Σ / ‖G‖², the latter in the geometric mean on the way to the goal",
            lambda run: fitted(run).slope / fitted(run).intercept / scale_on_the_way(run),
        ),
        of("critical batch", "B_crit of the fit", lambda run: fitted(run).slope / fitted(run).intercept, "samples"),
        of("noise scale", "in the geometric mean on the way to the goal", scale_on_the_way, "samples"),
        of("best rate at 16 over that at 1", "by updates to the goal", lambda run: rate(run, 16) / rate(run, 1)),
        of("best rate at 512 over that at 128", "the same", lambda run: rate(run, 512) / rate(run, 128)),
        of(
            "growth of the noise scale",
            "from the start until after four times the updates that the goal takes",
            lambda run: run.result["noise"]["scale"][-1] / run.result["noise"]["scale"][0],
        ),
        of(
            "estimated noise scale over the exact one",
            f"from {DRAWS} batches of {SMALL} and of {BIG}, at the start",
            lambda run: run.result["estimated"],
        ),
        of(
            "largest error of a closed form",
            "noise scale, decrease in one update, and where gradient descent comes to rest, in linear regression",
            lambda run: max(run.result["errors"].values()),
        ),
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Updates and samples against the batch, the rate against the batch, and the noise scale during training."""
    results = runs.results()
    sizes = np.array(results[0]["sizes"])
    lines = [fitted(run) for run in runs]
    curve = np.mean([[line.at(1 / size) for size in sizes] for line in lines], axis=0)
    critical = float(np.exp(np.mean([math.log(line.slope / line.intercept) for line in lines])))
    bend = f"The bend is at about {critical:.0f} samples."
    updates = _double_logarithmic(
        f"Updates until the training loss is {GOAL:g}",
        ("batch size", "updates"),
        f"Updates fall in proportion to the batch at first, then they are as many for any batch. {bend}",
    )
    samples = _double_logarithmic(
        "Samples that were looked at until then",
        ("batch size", "samples"),
        "Small batches look at equally many samples; beyond the bend, larger ones look at more for nothing.",
    )
    rates = _double_logarithmic(
        "The best rate",
        ("batch size", "learning rate"),
        "The best rate grows in proportion to the batch, and then no more.",
    )
    noise = _double_logarithmic(
        f"Noise scale during training with batches of {WALK}",
        ("training loss", "noise scale in samples"),
        "The lower the loss, the larger the noise scale: larger batches become worth their while late.",
    )
    noise.update_xaxes(autorange="reversed")
    for run in runs:
        name, steps = f"seed {run.seed}", np.array([steps or math.nan for steps in run.result["updates"]])
        plot.points(updates, sizes, steps, name=name)
        plot.points(samples, sizes, steps * sizes, name=name)
        plot.points(rates, sizes, run.result["rates"], name=name)
        plot.points(noise, run.result["noise"]["loss"], run.result["noise"]["scale"], name=name)
    plot.line(updates, sizes, curve, name="fit", role="neutral")
    plot.line(samples, sizes, curve * sizes, name="fit", role="neutral")
    return {"updates": updates, "samples": samples, "rates": rates, "noise": noise}


def _double_logarithmic(title: str, axes: tuple[str, str], summary: str) -> go.Figure:
    return plot.figure(title=title, x=axes[0], y=axes[1], log_x=True, log_y=True, summary=summary)


STUDY = Study(
    name="critical-batch",
    title="The critical batch size",
    chapter=2,
    claim="Up to a critical batch twice the batch saves half the updates, far beyond it nothing; noise tells where.",
    source="McCandlish et al. 2018; Shallue et al. 2019, both beyond the lecture's chapter 2",
    setting="Networks 64-64-10 on 1,297 digits; gradient descent with the best of eight rates for each batch of 1 to "
    "512 samples, until the loss over all data is 0.2; the noise scale from every sample's gradient.",
    explains="The first picture counts the updates until the training loss has come down to 0.2, with the best rate "
    "for each batch size. A small batch's gradient is mostly noise. In a batch twice as large more averages out, "
    "so that twice the rate can be used and half the updates are enough. When most of the noise is gone, a larger "
    "batch has the same gradient again, and curvature limits the rate. Then a larger batch saves nothing. The second "
    "picture shows the price: equally many samples up to the bend, ever more beyond.\n\n"
    "The bend can be foretold. The noise scale tr Σ / ‖G‖² is the batch size at which noise and signal in a gradient "
    "are equal, and the critical batch of the fit S_min (1 + B_crit / B) is near it, within a factor of three. It is "
    "no exact law, as the noise scale leaves out the curvature. Nor is it a constant: the last picture shows how it "
    "grows while the loss falls. So a batch that is too large at the start may be too small in the end.\n\n"
    "What is compared here are updates and samples, both until the same loss, and not accuracies. It depends on the "
    "machine which of the two takes the time (see batch-time).",
    gates=(
        Gate(
            measurement="slope for small batches",
            says="for small batches, updates fall in proportion to the batch",
            low=-1.2,
            high=-0.7,
            over="mean",
        ),
        Gate(
            measurement="slope for large batches",
            says="for large batches, they fall no more",
            low=-0.3,
            over="mean",
        ),
        Gate(
            measurement="critical batch over noise scale",
            says="the bend is at the noise scale, within a factor of three",
            low=1 / 3,
            high=3.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="best rate at 16 over that at 1",
            says="the best rate grows with small batches",
            low=4.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="best rate at 512 over that at 128",
            says="and no more with large ones",
            high=2.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="estimated noise scale over the exact one",
            says="what two batch sizes estimate is what all samples give",
            low=0.9,
            high=1.1,
            over="four seeds of five",
            role="control",
        ),
        Gate(
            measurement="largest error of a closed form",
            says="where theory is exact, so is what is simulated",
            high=0.03,
            over="four seeds of five",
            role="control",
        ),
        Gate(
            measurement="growth of the noise scale",
            says="the noise scale is no constant: it grows threefold or more while the loss falls",
            low=3.0,
            over="geometric mean",
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(55, 17),
    data=True,
)
