"""Sharp minima: do large batches end in sharper ones, at equal epochs, at equal updates, and at equal loss?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, hessian, vmap
from torch.utils.data import DataLoader, TensorDataset

from unstuck import datasets, plot
from unstuck.budget import Budget
from unstuck.fleet import Fleet, Member, train_fleet
from unstuck.fleet_network import Network
from unstuck.methods.update import adam
from unstuck.probes.sharpness import Sharpness
from unstuck.problem import Problem
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron
from unstuck.view import View

SMALL, LARGE = 16, 130
"""Samples in a batch; the large one holds a tenth of the data, as in Keskar et al."""

MOST = 1_297
"""Samples to learn from: as many as there are digits."""

HIDDEN = (64, 64)

EPOCHS, QUICK_EPOCHS = 40, 10

ONE_RATE = 1e-3
"""Adam's usual rate, at which both batches are compared as well."""

RATES = (3e-4, ONE_RATE, 3e-3)
"""Each batch trains with each of them; the one with the lowest training loss counts."""

EQUAL_LOSS = 0.01
"""Training loss at which both are compared on their way."""

FIRST_LOOK, STEP = 30, 1.03
"""Updates after which a walk is looked at for that, and the factor from one look to the next."""

LINE = np.linspace(-1.0, 2.0, 31)
"""Places on the line through both ends: 0 is the small batch's, 1 the large one's."""

FACTOR = 100.0
"""By which one layer is multiplied, and the next divided."""

ARMS: Mapping[str, str] = {
    "small": "small batch",
    "large": "large batch, equal epochs",
    "longer": "large batch, equal updates",
    "small at equal loss": "small batch, at a loss of 0.01",
    "large at equal loss": "large batch, at a loss of 0.01",
}


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """Both batches of one seed in one run."""
    return [{"seed": seed, "epochs": QUICK_EPOCHS if quick else EPOCHS} for seed in seeds]


def run(seed: int, epochs: int, data: str = datasets.DEFAULT) -> dict[str, Any]:
    """Train with both batches, measure where they end, and look at the line between."""
    whole = datasets.load(data)
    task = Task(
        inputs=whole.inputs[:MOST],
        targets=whole.targets[:MOST],
        held_out=(whole.held_out_inputs, whole.held_out_targets),
        widths=(whole.features, *HIDDEN, whole.classes),
        seed=seed,
    )
    longest, passes = (epochs * (len(task.inputs) // size) for size in (SMALL, LARGE))
    small, large = (task.trained(size, longest, passes) for size in (SMALL, LARGE))
    first, longer = task.best(small, longest), task.best(large, longest)
    ends = {
        "small": first,
        "large": task.best(large, passes),
        "longer": longer,
        "small at equal loss": task.nearest(first),
        "large at equal loss": task.nearest(longer),
        "small at one rate": End(small, RATES.index(ONE_RATE), longest),
        "large at one rate": End(large, RATES.index(ONE_RATE), passes),
    }
    return {
        "ends": {name: task.described(end) for name, end in ends.items()},
        "line": task.line(ends["small"], ends["large"]),
    }


@dataclass(frozen=True)
class End:
    """A network: of this fleet that with this rate, after so many updates."""

    fleet: Fleet
    rate: int
    updates: int

    @property
    def row(self) -> Tensor:
        """Its parameters, shape (n,)."""
        return self.fleet.kept[self.updates][0][self.rate]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned, by a network of these widths."""

    inputs: Tensor
    targets: Tensor
    held_out: tuple[Tensor, Tensor]
    widths: tuple[int, ...]
    seed: int

    def trained(self, size: int, updates: int, passes: int) -> Fleet:
        """A fleet with one network for each rate."""
        steps = np.geomspace(FIRST_LOOK, updates, 1 + round(math.log(updates / FIRST_LOOK) / math.log(STEP)))
        return train_fleet(
            lambda: perceptron(self.widths),
            cross_entropy,
            self.inputs,
            self.targets,
            [Member(rule=adam(rate), batch_size=size, seed=self.seed) for rate in RATES],
            updates,
            keep={passes, *steps.round().astype(int).tolist()},
        )

    def losses(self, network: Network, rows: Tensor) -> Tensor:
        """Over all training data, of K networks, shape (K,); a loss that diverged is infinite."""
        found = vmap(lambda row: cross_entropy(_outputs(network, row, self.inputs), self.targets).mean())(rows)
        return torch.where(found.isfinite(), found, math.inf)

    def best(self, fleet: Fleet, updates: int) -> End:
        """That with the rate that has the lowest training loss."""
        return End(fleet, int(self.losses(fleet.network, fleet.kept[updates][0]).argmin()), updates)

    def nearest(self, end: End) -> End:
        """The same walk where its training loss is nearest to what both are compared at."""
        looks = sorted(end.fleet.kept)
        rows = torch.stack([replace(end, updates=updates).row for updates in looks])
        apart = (self.losses(end.fleet.network, rows).log() - math.log(EQUAL_LOSS)).abs()
        return replace(end, updates=looks[int(apart.argmin())])

    def described(self, end: End) -> dict[str, float]:
        """Loss, accuracies, and sharpness in its own units and in those of the weights."""
        network = end.fleet.network
        model = perceptron(self.widths)
        model.load_state_dict(network.named(end.row))
        problem = Problem(
            model=model,
            loss=F.cross_entropy,
            train=DataLoader(TensorDataset(self.inputs, self.targets), batch_size=64),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        )
        sharp = Sharpness().measure(View(problem.branch(), seed=self.seed), Budget())
        return {
            "rate": RATES[end.rate],
            "updates": end.updates,
            "loss": float(self.losses(network, end.row[None])),
            "train": float(accuracy(_outputs(network, end.row, self.inputs), self.targets)),
            "held_out": float(accuracy(_outputs(network, end.row, self.held_out[0]), self.held_out[1])),
            "largest": sharp.largest.value,
            "adaptive_largest": sharp.adaptive_largest.value,
            "box": sharp.box,
            "adaptive_box": sharp.adaptive_box,
        }

    def line(self, small: End, large: End) -> dict[str, list[float]]:
        """Both losses at places on the line through two ends, (1 − a) θ_small + a θ_large."""
        found: dict[str, list[float]] = {"train": [], "held_out": []}
        for place in LINE:
            row = torch.lerp(small.row, large.row, float(place))
            for name, (inputs, targets) in (("train", (self.inputs, self.targets)), ("held_out", self.held_out)):
                found[name].append(float(cross_entropy(_outputs(small.fleet.network, row, inputs), targets).mean()))
        return found


def _outputs(network: Network, row: Tensor, inputs: Tensor) -> Tensor:
    outputs: Tensor = functional_call(network.model, network.named(row), (inputs,))
    return outputs


def rescaled(factor: float) -> dict[str, float]:
    """What Dinh et al. do to any network: of one with rectified units, W1 times a number, W2 divided by it.

    Returns:
        The loss, the largest eigenvalue of the Hessian, and that of diag|θ| H diag|θ|, in double precision.
    """
    generator = torch.Generator(device="cpu").manual_seed(0)
    inputs, first, second = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")
        for shape in ((64, 6), (8, 6), (3, 8))
    )
    targets = torch.randint(3, (64,), generator=generator, device="cpu")

    def loss(row: Tensor) -> Tensor:
        inward, outward = row[:48].view(8, 6), row[48:].view(3, 8)
        return F.cross_entropy((inputs @ inward.T).relu() @ outward.T, targets)

    row = torch.cat([(factor * first).flatten(), (second / factor).flatten()])
    curvatures = hessian(loss)(row)
    scaled = row.abs()[:, None] * curvatures * row.abs()
    return {
        "loss": float(loss(row)),
        "largest": float(torch.linalg.eigvalsh(curvatures)[-1]),
        "adaptive_largest": float(torch.linalg.eigvalsh(scaled)[-1]),
    }


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""

    def ratio(name: str, says: str, part: str, top: str, bottom: str) -> Measurement:
        ends = {run.seed: run.result["ends"] for run in runs}
        return Measurement(
            name=name, says=says, values={seed: own[top][part] / own[bottom][part] for seed, own in ends.items()}
        )

    def points(name: str, says: str, part: str, large: str) -> Measurement:
        ends = {run.seed: run.result["ends"] for run in runs}
        values = {seed: 100.0 * (own["small"][part] - own[large][part]) for seed, own in ends.items()}
        return Measurement(name=name, says=says, values=values, unit="points")

    over = "the large batch's over the small one's"
    curved = f"largest eigenvalue of the Hessian, {over}"
    loss = ("large at equal loss", "small at equal loss")
    return [
        ratio("sharpness, equal epochs", curved, "largest", "large", "small"),
        ratio("sharpness, equal updates", curved, "largest", "longer", "small"),
        ratio("sharpness, equal loss", curved, "largest", *loss),
        ratio("sharpness, equal epochs, one rate", curved, "largest", "large at one rate", "small at one rate"),
        ratio("Keskar's sharpness, equal epochs", f"ε = 0.001, {over}", "box", "large", "small"),
        ratio("Keskar's sharpness, equal loss", f"ε = 0.001, {over}", "box", *loss),
        ratio(
            "sharpness in units of the weights, equal epochs",
            f"largest eigenvalue of diag|θ| H diag|θ|, {over}",
            "adaptive_largest",
            "large",
            "small",
        ),
        ratio("training loss, equal epochs", over, "loss", "large", "small"),
        ratio("training losses that are called equal", over, "loss", *loss),
        points("held-out accuracy, equal epochs", "small batch minus large batch", "held_out", "large"),
        points("held-out accuracy, equal updates", "small batch minus large batch", "held_out", "longer"),
        *_exact(),
    ]


def _exact() -> list[Measurement]:
    """What rescaling does to a network that stays the same function."""
    before, after = rescaled(1.0), rescaled(FACTOR)

    def of(name: str, says: str, value: float) -> Measurement:
        return Measurement(name=name, says=says, values={0: value})

    return [
        of(
            "change of the loss by rescaling",
            "relative, W1 times 100 and W2 divided by it",
            abs(after["loss"] / before["loss"] - 1.0),
        ),
        of("sharpness after rescaling over that before", "largest eigenvalue", after["largest"] / before["largest"]),
        of(
            "change of sharpness in units of the weights by rescaling",
            "relative, of the largest eigenvalue of diag|θ| H diag|θ|",
            abs(after["adaptive_largest"] / before["adaptive_largest"] - 1.0),
        ),
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Keskar's picture of the line, and sharpness against loss for every end."""
    first = runs.results()[0]["line"]
    line = plot.figure(
        title="The loss on the line through both ends, after as many epochs",
        x="0 is the end of the small batch, 1 that of the large one",
        y="loss",
        log_y=True,
        summary="No hill lies between the ends. The training loss falls from the large batch's, at 1, to the small "
        "batch's, at 0, and the loss on held-out data hardly changes.",
    )
    for part, name in (("train", "training data"), ("held_out", "held-out data")):
        plot.line(line, LINE, first[part], name=name)
    sharpness = plot.figure(
        title="Sharpness against training loss",
        x="training loss",
        y="largest curvature",
        log_x=True,
        log_y=True,
        summary="Nearly all ends lie along one line, whatever their batch: the lower the loss, the less curvature.",
    )
    for arm, name in ARMS.items():
        ends = [result["ends"][arm] for result in runs.results()]
        plot.points(sharpness, [end["loss"] for end in ends], [end["largest"] for end in ends], name=name)
    return {"line": line, "sharpness": sharpness}


STUDY = Study(
    name="sharp-minima",
    title="Sharp and flat minima",
    chapter=2,
    claim="Large batches end in sharp minima and small ones in flat ones, which do better on held-out data.",
    source="Hung-yi Lee 2021, chapter 2; Keskar et al. 2017, with Dinh et al. 2017 and Hoffer et al. 2017 against it",
    setting="Networks 64-64-64-10 on 1,297 digits, 500 held out; Adam at a constant rate, the best of three by "
    "training loss, batches of 16 and of 130, in 40 epochs and in as many updates; sharpness over 512 samples.",
    explains="After as many epochs the large batch stands where the largest curvature is many times that of the small "
    "batch's end, and its accuracy on held-out data is a little lower. This is what Keskar et al. reported and what "
    "the lecture shows. The batch does not change the surface: the first picture is one surface with both ends on it. "
    "The batch only decides where the walk is when it ends.\n\n"
    "The second picture says what this comparison leaves out. With cross-entropy the curvature follows the loss that "
    "is left, because it vanishes as predictions become certain, and the large batch has made a ninth of the updates "
    "and has the higher training loss. Let it make as many, and its end is no sharper, and no worse on held-out data. "
    "Compared on their way, where both have the same loss, the large batch is not sharper. So most of the difference "
    "is one of optimization, as Hoffer et al. found, and not of generalization.\n\n"
    "Nor does sharpness by itself say how well a network generalizes. Multiply the first layer of a network with "
    "rectified units by a hundred and divide the second by it: the function is the same, the largest curvature is "
    "thousands of times larger (Dinh et al. 2017). Measured in units of the weights themselves it stays what it was.",
    gates=(
        Gate(
            measurement="sharpness, equal epochs",
            says="after as many epochs, the large batch's end is five times as sharp or more",
            low=5.0,
            over="geometric mean",
        ),
        Gate(
            measurement="held-out accuracy, equal epochs",
            says="and it does worse on held-out data",
            low=0.1,
            over="mean",
        ),
        Gate(
            measurement="change of the loss by rescaling",
            says="rescaling leaves the function as it is",
            high=1e-12,
            role="control",
        ),
        Gate(
            measurement="change of sharpness in units of the weights by rescaling",
            says="and sharpness in units of the weights as well",
            high=1e-6,
            role="control",
        ),
        Gate(
            measurement="training loss, equal epochs",
            says="the large batch's training loss is five times as high or more: it has not been optimized as far",
            low=5.0,
            over="geometric mean",
            role="qualification",
        ),
        Gate(
            measurement="sharpness, equal updates",
            says="after as many updates, its end is not twice as sharp",
            high=2.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="held-out accuracy, equal updates",
            says="and within half a point as good on held-out data",
            low=-0.5,
            high=0.5,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="sharpness, equal loss",
            says="at the same loss, it is not twice as sharp",
            high=2.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="sharpness after rescaling over that before",
            says="the same function can be made a thousand times as sharp",
            low=1e3,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(100, 25),
    data=True,
)
