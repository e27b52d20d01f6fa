"""Methods with the same tuning budget: digits learned, settings chosen on a validation part, ends held out.

Lecture chapter 3.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unstuck import datasets
from unstuck.errors import InputError
from unstuck.fleet import Member, epochs, train_fleet
from unstuck.fleet_network import Network
from unstuck.judged import judged_weights
from unstuck.methods.optimizers import with_optimizer
from unstuck.methods.schedule import Cosine, with_schedule
from unstuck.methods.update import Rule, adagrad, adam, adamw, gradient_descent, heavy_ball, rmsprop
from unstuck.problem import Problem
from unstuck.study.experiments.curved import mean_loss, sharpest
from unstuck.study.experiments.networks import accuracy, cross_entropy, perceptron
from unstuck.study.experiments.walks import uniform
from unstuck.untouched import seeded
from unstuck.walk import walk

LEARNED, BATCH, WIDTH = 1_000, 64, 64
"""Digits to learn from, the other 297 being for validation; samples in an update; hidden units in each layer."""

KINDS = ("alike", "apart", "turned")
"""Inputs standardized; each multiplied by a factor of its own; these turned, so that no input stands for itself."""

FARTHEST, DECADES = 3.0, 1.5
"""Deviations at which inputs are cut off; factors are from 10 to the minus this to 10 to this."""

DECAY = 0.1
"""λ of AdamW."""

OFTEN = 10
"""Updates from one look for SOAP's axes to the next."""


@dataclass(frozen=True)
class Method:
    """How a method is tuned.

    Attributes:
        lowest: of its rates, each twice the last.
        rule: (rate) → what a fleet follows; None where a torch optimizer walks.
        scheduled: whether its rate falls along a cosine.
    """

    lowest: float
    rule: Callable[[float], Rule] | None = None
    scheduled: bool = True


METHODS: Mapping[str, Method] = {
    "gradient descent": Method(0.05, gradient_descent),
    "momentum": Method(0.005, heavy_ball),
    "Adagrad": Method(0.01, adagrad),
    "RMSProp": Method(0.0005, rmsprop),
    "Adam": Method(0.002, adam),
    "AdamW": Method(0.002, partial(adamw, decay=DECAY)),
    "Muon": Method(0.001),
    "SOAP": Method(0.001),
    "schedule-free": Method(0.05, scheduled=False),
    "SAM": Method(0.005),
}

SETTINGS = 6
"""Rates that each tries."""


def soap(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Adam along the axes that Shampoo finds. Vyas et al. 2024, "SOAP".

    Raises:
        InputError: its package is not installed.
    """
    try:
        from pytorch_optimizer import SOAP
    except ModuleNotFoundError as error:
        raise InputError('SOAP is in a package that is not installed: pip install "unstuck[optim]"') from error
    return SOAP(model.parameters(), lr=rate, betas=(0.9, 0.999), weight_decay=0.0, precondition_frequency=OFTEN)


@dataclass(frozen=True)
class Digits:
    """Networks that learn 1,000 digits.

    Attributes:
        seed: of the network, the order, the part for validation, the factors and the turn.
        kind: of the inputs, one of KINDS.
        updates: to the end of the schedule.
    """

    seed: int
    kind: str
    updates: int

    @cached_property
    def parts(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """(inputs, classes) to learn, to choose by, and held out."""
        digits = datasets.load("digits")
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        order = torch.randperm(len(digits.inputs), generator=generator, device="cpu")
        inputs = digits.inputs.double().clamp(-FARTHEST, FARTHEST)
        change = torch.eye(digits.features, dtype=torch.float64, device="cpu")
        if self.kind != "alike":
            change = change * 10.0 ** uniform(-DECADES, DECADES, digits.features, generator)
        if self.kind == "turned":
            drawn = torch.randn(change.shape, generator=generator, dtype=torch.float64, device="cpu")
            change = change @ torch.linalg.qr(drawn)[0]
        held_out = digits.held_out_inputs.double().clamp(-FARTHEST, FARTHEST)
        learned, chosen = order[:LEARNED], order[LEARNED:]
        return (
            ((inputs[learned] @ change).float(), digits.targets[learned]),
            ((inputs[chosen] @ change).float(), digits.targets[chosen]),
            ((held_out @ change).float(), digits.held_out_targets),
        )

    @staticmethod
    def network() -> nn.Module:
        """Two hidden layers."""
        return perceptron((64, WIDTH, WIDTH, 10))

    @cached_property
    def problem(self) -> Problem:
        """For torch's optimizers to walk, with the batches that a fleet's members see."""
        with seeded(self.seed):
            model = self.network()
        drawn = itertools.chain.from_iterable(epochs(LEARNED, BATCH, self.seed))
        order = torch.cat(list(itertools.islice(drawn, self.updates))).tolist()
        loader = DataLoader(TensorDataset(*self.parts[0]), BATCH, sampler=order)
        return Problem(model, nn.CrossEntropyLoss(), loader, torch.optim.SGD(model.parameters(), lr=0.1))

    def tuned(self, name: str, settings: int = SETTINGS, updates: int = 0) -> dict[str, list[float]]:
        """Losses and accuracies of a method's ends, one for each of its highest rates."""
        method, count = METHODS[name], updates or self.updates
        rates = [method.lowest * 2.0**number for number in range(SETTINGS - settings, SETTINGS)]
        if method.rule is not None:
            members = [
                Member(rule=method.rule(rate), batch_size=BATCH, seed=self.seed, schedule=Cosine(updates=count))
                for rate in rates
            ]
            outputs = train_fleet(self.network, cross_entropy, *self.parts[0], members, count).outputs
            return {"rates": rates} | self.seen(outputs)
        ends = [self.walked(name, rate, count) for rate in rates]
        return {"rates": rates} | self.seen(lambda inputs: torch.stack([end(inputs) for end in ends]).detach())

    def walked(self, name: str, rate: float, updates: int) -> nn.Module:
        """The network at the end of a walk."""
        branch = self.walker(name, rate)
        if METHODS[name].scheduled:
            branch = with_schedule(branch, Cosine(updates=updates))
        walk(branch, updates)  # in the loader's own order, which other seeds would begin elsewhere
        with judged_weights(branch, statistics=False):
            copied = copy.deepcopy(branch.model)
        return copied.eval()

    def walker(self, name: str, rate: float) -> Problem:
        """A branch under a method."""
        branch = self.problem.branch()
        if name == "SOAP":
            return branch.changed(optimizer=soap(branch.model, rate))
        settings = {"weight_decay": DECAY} if name == "AdamW" else {}
        return with_optimizer(branch, name.lower().replace(" ", "-"), rate=rate, **settings)

    def sharpness(self, model: nn.Module) -> float:
        """The largest eigenvalue of the Hessian of the loss on what is learned."""
        loss = mean_loss(Network.of(self.network()), cross_entropy, *self.parts[0])
        return sharpest(loss, nn.utils.parameters_to_vector(model.parameters()).detach(), self.seed)

    def seen(self, outputs: Callable[[Tensor], Tensor]) -> dict[str, list[float]]:
        """Losses on all three parts, and the accuracy, in per cent, on what is held out."""
        found: dict[str, list[float]] = {}
        for name, (inputs, classes) in zip(("learned", "chosen", "held out"), self.parts, strict=True):
            given = outputs(inputs)
            losses = [float(cross_entropy(own, classes).mean()) for own in given]
            found[name] = [loss if math.isfinite(loss) else math.inf for loss in losses]
        return found | {"accuracy": (100.0 * accuracy(given, classes)).tolist()}
