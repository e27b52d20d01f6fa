"""The other normalizations: what each does in small batches, and in batches of one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from unstuck import plot
from unstuck.datasets import load
from unstuck.study import Gate, Measurement, Runs, Study
from unstuck.study.experiments.normalization_formulas import known
from unstuck.study.experiments.normalizations import (
    KINDS,
    OF_SAMPLES,
    convolutional,
    learned,
    learned_in_groups,
    perceptron,
)

SIZES = (2, 4, 8, 32)
"""Samples in a batch."""

RATES = (0.1, 0.2, 0.4)
"""Of batches of 32, with momentum 0.9; every kind tries each, and the lowest training loss counts."""

RENORM = "renormalization"

NAMES: Mapping[str, str] = {
    "none": "no normalization",
    RENORM: "batch renormalization",
    **{kind: f"{kind} normalization" for kind in ("batch", "layer", "instance", "group", "weight", "spectral")},
}

OTHERS = (*OF_SAMPLES, "weight", "spectral")

UPDATES, OF_UPDATES = 80, ("batch", RENORM, "layer", "group")
"""Where all sizes make as many updates, and which kinds do; at rates that are the same for all sizes."""

UPDATE_RATES = (0.025, 0.05, 0.1, 0.2)

ORDERS = ("one class", "shuffled")

OF_CLASSES = ("none", "batch", RENORM, "layer", "group")
"""Those that a network without places can have."""

OF_IMAGES = ("batch", "layer", "group")

SHARE = 0.03
"""Of a new batch in moving averages there: they should hold all classes."""

GROUP_UPDATES = 300


def plan(seeds: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """For each seed the formulas, each size of batches in as many epochs and updates, and the batches of one class."""
    few = [size for size in SIZES if size != 4]
    parts: list[dict[str, Any]] = [{"part": "formulas"}]
    for part, sizes, rates in (("epochs", SIZES, RATES), ("updates", few, UPDATE_RATES)):
        tried = rates[1:2] if quick else rates
        parts += [{"part": part, "size": size, "rates": list(tried)} for size in (few if quick else sizes)]
    parts += [{"part": "classes", "updates": GROUP_UPDATES // 3 if quick else GROUP_UPDATES}]
    parts += [{"part": "images", "updates": GROUP_UPDATES // 10 if quick else 2 * GROUP_UPDATES // 5}]
    return [{"seed": seed} | part for seed in seeds for part in parts]


def run(
    seed: int, part: str, size: int = 0, rates: Sequence[float] = RATES, updates: int = GROUP_UPDATES
) -> dict[str, Any]:
    """One part of the study, for one seed."""
    match part:
        case "formulas":
            return known(seed)
        case "epochs":
            scaled = [rate * size / 32 for rate in rates]
            return learned(KINDS, seed, size, len(load("digits").inputs) // size, scaled)
        case "updates":
            return learned(OF_UPDATES, seed, size, UPDATES, rates)
        case "classes":
            build = partial(perceptron, updates, SHARE)
            return {order: learned_in_groups(build, OF_CLASSES, order, seed, updates) for order in ORDERS}
        case _:
            build = partial(convolutional, updates, SHARE)
            return {"one class": learned_in_groups(build, OF_IMAGES, "one class", seed, updates)}


EXACT: Mapping[str, tuple[str, str]] = {
    "error of the formulas": ("largest, in double precision", "error"),
    "dependence on other samples, batch normalization": ("change of an output, largest", "batch"),
    "dependence on other samples, layer, instance and group": ("change of an output, largest", "others"),
    "stretch of layers with spectral normalization": ("three layers with ReLU, largest", "layers"),
    "stretch of a convolution with spectral normalization": ("16 channels, largest", "convolution"),
}
"""What is measured → what that is, and which number of the formulas."""

Numbers = dict[str, tuple[str, float]]
"""Name → what it is, and the number of one seed."""


def _in_epochs(at: Mapping[int, Mapping[str, Any]]) -> Numbers:
    """Of batches of 2, 8 and 32 in as many epochs."""
    says = "as many epochs, each at its best rate"
    found: Numbers = {}
    ratios = {kind: at[2]["loss"][kind] / at[8]["loss"][kind] for kind in NAMES}
    rises = {kind: at[2]["error"][kind] - at[8]["error"][kind] for kind in NAMES}
    for kind, name in NAMES.items():
        found[f"points of error from batches of 8 to 2, {name}"] = f"held out, {says}", rises[kind]
        found[f"loss in batches of 2 over batches of 8, {name}"] = f"of training, {says}", ratios[kind]
    for kind, size in (("batch", 2), ("batch", 8), ("batch", 32), ("instance", 32)):
        error = at[size]["error"]
        name = f"error over group normalization's in batches of {size}, {NAMES[kind]}"
        found[name] = f"points, {says}", error[kind] - error["group"]
    error, loss = at[2]["error"], at[2]["loss"]
    return found | {
        "loss in batches of 2 over batches of 8, the worst of the others": (
            "layer, instance, group, weight, spectral",
            max(ratios[kind] for kind in OTHERS),
        ),
        "points of error from batches of 8 to 2, batch over group normalization": (
            f"held out, {says}",
            rises["batch"] - rises["group"],
        ),
        "loss in batches of 2 over batch renormalization's": (f"of training, {says}", loss["batch"] / loss[RENORM]),
        "error in batches of 2 over batch renormalization's": (f"points, {says}", error["batch"] - error[RENORM]),
        "points saved in batches of 2 by averages taken anew": ("held out", error["batch"] - at[2]["anew"]),
    }


def _in_updates(few: Mapping[str, Any], many: Mapping[str, Any]) -> Numbers:
    """Of batches of 2 and 32 in as many updates."""
    says = "points, held out, each at its best rate"
    found: Numbers = {}
    for kind in OF_UPDATES:
        name = f"points of error from batches of 32 to 2, as many updates, {NAMES[kind]}"
        found[name] = says, few["error"][kind] - many["error"][kind]
    over = few["error"]["batch"] - few["error"]["group"]
    return found | {"error over group normalization's in batches of 2, as many updates": (says, over)}


def _in_classes(perceptrons: Mapping[str, Any], images: Mapping[str, Any]) -> Numbers:
    """Of batches of one class, and of shuffled ones."""
    found: Numbers = {}
    for order, batches in (("one class", "batches of one class"), ("shuffled", "shuffled batches")):
        errors = {kind: own["testing"] for kind, own in perceptrons[order].items()}
        for kind, error in errors.items():
            found[f"error in {batches}, {NAMES[kind]}"] = "per cent, in testing", error
        for kind in ("group", "layer", RENORM):
            name = f"batch normalization's error over that of {NAMES[kind]}, {batches}"
            found[name] = "points, in testing", errors["batch"] - errors[kind]
    for name, kind, result in (
        ("batch renormalization's error over that of group normalization, batches of one class", RENORM, perceptrons),
        ("batch normalization's error over that of group normalization, convolutions, one class", "batch", images),
    ):
        own = result["one class"]
        found[name] = "points, in testing", own[kind]["testing"] - own["group"]["testing"]
    return found


def measure(runs: Runs) -> list[Measurement]:
    """What the gates are about."""
    found: dict[int, Numbers] = {}
    for seed in runs.seeds:
        epochs = {size: runs.where(part="epochs", size=size).of_seed(seed) for size in (2, 8, 32)}
        updates = [runs.where(part="updates", size=size).of_seed(seed) for size in (2, 32)]
        classes = [runs.where(part=part).of_seed(seed) for part in ("classes", "images")]
        formulas = runs.where(part="formulas").of_seed(seed)
        exact = {name: (says, formulas[number]) for name, (says, number) in EXACT.items()}
        found[seed] = _in_epochs(epochs) | _in_updates(*updates) | _in_classes(*classes) | exact
    return [
        Measurement(name=name, says=says, values={seed: numbers[name][1] for seed, numbers in found.items()})
        for name, (says, _) in found[runs.seeds[0]].items()
    ]


def draw(runs: Runs) -> Mapping[str, go.Figure]:
    """Errors against the batch size in as many epochs and updates, and on batches of one class."""
    sizes = plot.figure(
        title="In as many epochs",
        x="samples in a batch",
        y="error on held-out samples, per cent",
        log_x=True,
        summary="From batches of 32 to 8 all errors fall, as there are more updates. In batches of 2 those of batch "
        "normalization and renormalization are higher again, those of layer and group normalization are not. Instance "
        "normalization errs most at each size.",
    )
    weights = plot.figure(
        title="Normalized weights, in as many epochs",
        x="samples in a batch",
        y="training loss",
        log_x=True,
        log_y=True,
        summary="With normalized weights the loss falls from size to size, as it does without normalization and with "
        "group normalization; that of batch normalization rises in batches of 2.",
    )
    updates = plot.figure(
        title="In as many updates",
        x="samples in a batch",
        y="error on held-out samples, per cent",
        log_x=True,
        summary="The smaller the batch, the higher every error, from about 5 per cent in batches of 32 to 40 or 50 "
        "in batches of 2. Batch normalization has one of the lowest.",
    )
    for figure, part, kinds, what in (
        (sizes, "epochs", ("batch", RENORM, "layer", "instance", "group"), "error"),
        (weights, "epochs", ("batch", "group", "none", "weight", "spectral"), "loss"),
        (updates, "updates", OF_UPDATES, "error"),
    ):
        for kind in kinds:
            plot.line(figure, *_curve(runs.where(part=part), what, kind), name=NAMES[kind])
    classes = plot.figure(
        title="Batches of one class",
        x="what normalizes",
        y="error on held-out samples, per cent",
        summary="Shuffled, all errors are a few per cent. On batches of one class batch normalization is nearly always "
        "wrong, batch renormalization on a third of the samples; the others err no more than before.",
    )
    own = runs.where(part="classes").results()
    for order, name in zip(ORDERS, ("batches of one class", "shuffled batches"), strict=True):
        values = [float(np.mean([result[order][kind]["testing"] for result in own])) for kind in OF_CLASSES]
        classes.add_bar(x=[NAMES[kind] for kind in OF_CLASSES], y=values, name=name)
    return {"sizes": sizes, "weights": weights, "updates": updates, "classes": classes}


def _curve(runs: Runs, what: str, kind: str) -> tuple[list[int], list[float]]:
    """Sizes of batches, and the mean over the seeds at each."""
    sizes = sorted({run.settings["size"] for run in runs})
    return sizes, [float(np.mean([result[what][kind] for result in runs.where(size=size).results()])) for size in sizes]


STUDY = Study(
    name="normalizations",
    title="The other normalizations",
    chapter=5,
    claim="In small batches batch normalization does worse; statistics of one sample, or of weights, take no harm.",
    source="Wu & He 2018; Ioffe 2017; Ba et al. 2016; Ulyanov et al. 2016; Salimans & Kingma 2016; Miyato 2018",
    setting="Digits, three convolutions of 16 channels at 4 × 4, 2 × 2 and 2 × 2 places, momentum 0.9, rates that fall "
    "to 0 by a cosine. One epoch at the best of three rates, in proportion to the batch; or 80 updates at the best of "
    "four, the same for all batches. Batches of one class: 64-48-48-10, gradient descent, 300 updates at the best of "
    "three rates; the convolutions, 120. Best is what has the lowest training loss. Layers with so few places, where "
    "the effect shows, and the averages' share of 0.03 were chosen on seed 100.",
    explains="All of these shift and scale what a layer gives to mean 0 and deviation 1; they differ in what the mean "
    "is over. Batch normalization takes it over the samples of the batch, layer normalization over all channels of one "
    "sample, instance normalization over one channel of one sample, group normalization over some channels. Weight "
    "and spectral normalization leave the values and divide the weights, by the length of each row or by the largest "
    "singular value of the matrix. Batch renormalization corrects the batch's statistics by the moving averages.\n\n"
    "The first picture is that of Wu and He. In as many epochs, smaller batches make more updates, and so all errors "
    "fall from right to left at first. Below 8 that of batch normalization turns up: its mean and deviation are those "
    "of two samples, and noise. It is this noise in training that does harm, not the moving averages, for to take them "
    "anew from all samples saves little. Layer and group normalization know nothing of the batch and go on falling; "
    "so do normalized weights. But in batches of 8 and 32 batch normalization is the best, and in batches of 2 it "
    "only loses its lead; in the paper, in a network of 50 layers, it falls ten points behind. In as many updates a "
    "small batch has simply shown fewer samples, and all do worse, batch normalization the least.\n\n"
    "In batches of one class, batch normalization subtracts what tells that class from the others, and is wrong on "
    "nine samples in ten. Renormalization, which leans on averages over many batches, is still wrong on a third; "
    "layer and group normalization are not troubled. This is so where each unit has one number for each sample. In the "
    "network of convolutions the mean is over places as well, the pattern in space is left, and batch normalization "
    "does not fail.\n\n"
    "Spectral normalization bounds how far distances are stretched: by a matrix W/σ(W) at most as 1 to 1, by a "
    "convolution, whose σ is that of its kernel laid out as a matrix, half as much again.",
    gates=(
        Gate(
            measurement="loss in batches of 2 over batches of 8, batch normalization",
            says="in batches of 2, batch normalization has a higher loss than in those of 8, for all its updates",
            low=1.15,
            over="geometric mean",
        ),
        Gate(
            measurement="loss in batches of 2 over batches of 8, the worst of the others",
            says="layer, instance, group, weight and spectral normalization have none that is higher by a twentieth",
            high=1.05,
            over="mean",
        ),
        Gate(
            measurement="points of error from batches of 8 to 2, batch over group normalization",
            says="from batches of 8 to 2 batch normalization's error rises against that of group normalization",
            low=0.5,
            over="mean",
        ),
        Gate(
            measurement="points saved in batches of 2 by averages taken anew",
            says="moving averages taken anew save less than a point of it",
            high=1.0,
            over="mean",
        ),
        Gate(
            measurement="loss in batches of 2 over batch renormalization's",
            says="in batches of 2 batch renormalization has a lower loss than batch normalization",
            low=1.08,
            over="geometric mean",
        ),
        Gate(
            measurement="error over group normalization's in batches of 32, batch normalization",
            says="in batches of 32 batch normalization errs no more than group normalization",
            high=0.0,
            over="mean",
        ),
        Gate(
            measurement="error over group normalization's in batches of 32, instance normalization",
            says="and instance normalization a point more, or worse",
            low=1.0,
            over="mean",
        ),
        Gate(
            measurement="batch normalization's error over that of group normalization, batches of one class",
            says="on batches of one class, batch normalization is wrong on forty points more than group normalization",
            low=40.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="batch normalization's error over that of batch renormalization, batches of one class",
            says="and on thirty points more than batch renormalization",
            low=30.0,
            over="four seeds of five",
        ),
        Gate(
            measurement="batch normalization's error over that of group normalization, shuffled batches",
            says="on shuffled batches it is the same within two points",
            low=-2.0,
            high=2.0,
            over="mean",
            role="control",
        ),
        Gate(
            measurement="error of the formulas",
            says="what is known exactly of each normalization holds",
            high=1e-9,
            role="control",
        ),
        Gate(
            measurement="dependence on other samples, layer, instance and group",
            says="by layer, instance and group normalization no sample depends on another",
            high=0.0,
            role="control",
        ),
        Gate(
            measurement="stretch of layers with spectral normalization",
            says="layers with spectral normalization stretch nothing",
            high=1.0 + 1e-9,
            role="control",
        ),
        Gate(
            measurement="error over group normalization's in batches of 8, batch normalization",
            says="in batches of 8, where the paper has it behind, batch normalization still errs less",
            high=0.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="error over group normalization's in batches of 2, batch normalization",
            says="in batches of 2 it is behind by less than two points, not by ten",
            high=2.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="points of error from batches of 32 to 2, as many updates, group normalization",
            says="in as many updates, group normalization errs on twenty points more in batches of 2, too",
            low=20.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="error in batches of 2 over batch renormalization's",
            says="batch renormalization saves less than a point of error in batches of 2",
            high=1.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="batch renormalization's error over that of group normalization, batches of one class",
            says="on batches of one class it is wrong on fifteen points more than group normalization",
            low=15.0,
            over="four seeds of five",
            role="qualification",
        ),
        Gate(
            measurement="batch normalization's error over that of group normalization, convolutions, one class",
            says="with convolutions, batch normalization does not fail on batches of one class",
            high=10.0,
            over="mean",
            role="qualification",
        ),
        Gate(
            measurement="stretch of a convolution with spectral normalization",
            says="a convolution with spectral normalization stretches by a fifth or more",
            low=1.2,
            role="qualification",
        ),
    ),
    plan=plan,
    run=run,
    measure=measure,
    draw=draw,
    takes=(75, 12),
    quick_seeds=(0,),
)
