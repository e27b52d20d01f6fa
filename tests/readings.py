"""Readings made by hand: those of a training that goes well, to be changed one number at a time."""

from __future__ import annotations

from unstuck.budget import Cost
from unstuck.cause import Cause, Finding
from unstuck.probes.activations import ActivationsReading
from unstuck.probes.direction import DirectionReading
from unstuck.probes.escape import EscapeReading
from unstuck.probes.finite import FiniteReading
from unstuck.probes.generalization import GeneralizationReading
from unstuck.probes.gradient import GradientReading
from unstuck.probes.inputs import InputsReading
from unstuck.probes.layers import LayersReading
from unstuck.probes.modes import ModesReading
from unstuck.probes.noise import NoiseReading
from unstuck.probes.order import OrderReading
from unstuck.probes.outputs import OutputsReading
from unstuck.probes.spectrum import SpectrumReading
from unstuck.probes.step import StepReading
from unstuck.probes.wiring import WiringReading
from unstuck.reading import Estimate, Measured, Reading, Readings, Within

FINITE = FiniteReading(update=0, samples=512, finite=True, kind="", place="", share=0.0)

INPUTS = InputsReading(
    update=0,
    samples=512,
    axis=1,
    features=20,
    size=1.0,
    largest_over_typical=1.1,
    typical_over_smallest=1.1,
    offset=0.03,
    constant=0.0,
    rank=20,
    condition=2.2,
    normalized_condition=2.1,
    noise_condition=2.2,
    alike=False,
    told=Estimate(0.3, 0.01),
)

WIRING = WiringReading(
    update=0,
    samples=32,
    parameters=1000,
    coverage=1.0,
    missing=(),
    frozen_but_listed=(),
    detached=(),
    frozen=(),
    still=(),
    missing_share=0.0,
)

OUTPUTS = OutputsReading(
    update=100,
    samples=512,
    loss=Estimate(0.7, 0.02),
    constant=1.39,
    form="cross-entropy",
    kind="scores",
    low=-5.0,
    high=5.0,
    classes=4,
    binary_targets=False,
    input_dependence=Estimate(0.8, 0.02),
    slope_over_error=None,
)

GRADIENT = GradientReading(
    update=0,
    samples=512,
    loss=Estimate(1.4, 0.02),
    norm=0.5,
    noise=0.1,
    squared_norm=Estimate(0.24, 0.02),
    typical=0.5,
    size=8.0,
    decay_over_rest=0.0,
)

DIRECTION = DirectionReading(
    update=0,
    samples=512,
    updates=100,
    start=1.4,
    end=0.7,
    slope=Estimate(-0.007, 0.001),
    cosine=0.2,
    largest=1.6,
    typical_norm=0.5,
    broke_at=None,
)

SPECTRUM = SpectrumReading(
    update=0,
    samples=512,
    dimension=1000,
    exact=False,
    largest=Estimate(4.0, 0.01),
    lowest=Estimate(-0.3, 0.01),
    lowest_plausible=-0.31,
    minimum_ratio=Estimate(0.4, 0.1),
    near_zero=Estimate(0.4, 0.1),
    minimum_ratio_coarse=Estimate(0.2, 0.1),
    near_zero_coarse=Estimate(0.7, 0.1),
    minimum_ratio_fine=Estimate(0.5, 0.1),
    near_zero_fine=Estimate(0.2, 0.1),
    proved=Estimate(-0.3, 1e-9),
    newton_residual=0.5,
    descent_share=0.4,
    eigenvector=(),
    engine="two backward passes",
    engine_error=0.0,
)

STEP = StepReading(
    update=0,
    samples=512,
    optimizer="SGD",
    rate=0.1,
    momentum=0.0,
    best_multiple=Estimate(4.0, 1.0),
    critical_multiple=20.0,
    best_drop=Estimate(0.1, 0.02),
    relative_step=0.01,
    sharpness=Estimate(4.0, 0.01),
    limit=20.0,
    sharpness_over_limit=0.2,
    ringing=0.0,
)

ESCAPE = EscapeReading(
    update=0,
    samples=512,
    loss=1.4,
    gradient_drop=0.5,
    curvature_drop=0.05,
    curvature_length=0.5,
    predicted_drop=0.04,
    predicted_ratio=1.0,
    perturbed_drop=0.5,
    symmetric=0.0,
)

LAYERS = LayersReading(
    update=0,
    samples=512,
    depth=3,
    activation_trend=Estimate(-0.1, 0.1),
    gradient_trend=Estimate(0.1, 0.1),
    sensitivity_trend=Estimate(0.0, 0.1),
    parameter_trend=Estimate(0.1, 0.1),
    activation_ratio=Estimate(1.2, 0.01),
    gradient_ratio=Estimate(0.8, 0.01),
    sensitivity_ratio=Estimate(1.0, 0.01),
    parameter_ratio=Estimate(0.8, 0.02),
    output_gradient=Estimate(0.9, 0.01),
    without_gradient=0.0,
    layers=("0", "2", "4"),
    layer_activation=(1.0, 0.9, 0.8),
    layer_gradient=(0.7, 0.8, 0.9),
    layer_sensitivity=(1.0, 1.0, 1.0),
    layer_parameters=(0.4, 0.4, 0.5),
)

ACTIVATIONS = ActivationsReading(
    update=0,
    samples=512,
    units=64,
    dead=0.0,
    worst_dead=0.0,
    dead_bound=3 / 512,
    saturated=0.05,
    worst_saturated=0.05,
    twins=0.0,
    rank=10.0,
    initial_dead=0.0,
    initial_worst_dead=0.0,
    initial_worst_saturated=0.02,
    layers=("1 tanh", "3 tanh"),
    layer_units=(32, 32),
    layer_dead=(0.0, 0.0),
    layer_off=(None, None),
    layer_saturated=(0.05, 0.05),
    layer_twins=(0.0, 0.0),
    layer_rank=(12.0, 10.0),
)

MODES = ModesReading(
    update=0,
    samples=512,
    batch_size=32,
    trained=Estimate(1.4, 0.02),
    batch=Estimate(1.4, 0.02),
    evaluation=Estimate(1.42, 0.02),
    recomputed=Estimate(1.4, 0.02),
    gap=Estimate(0.02, 0.01),
    averages_gap=Estimate(0.02, 0.01),
    batches_gap=Estimate(0.0, 0.01),
    dropout_gap=Estimate(0.0, 0.0),
    dropout=0.0,
    modules=("1: BatchNorm1d, moving averages",),
    layers=("1",),
    layer_distance=(0.1,),
)

NOISE = NoiseReading(
    update=0,
    samples=512,
    batch=32,
    population=1024,
    squared_norm=Estimate(0.24, 0.02),
    trace=Estimate(12.0, 0.5),
    scale=Within(50.0, 42.0, 58.0),
    over_batch=Within(1.5, 1.3, 1.7),
    gain=Within(0.4, 0.37, 0.43),
    scale_by_batches=Within(50.0, 40.0, 60.0),
    scale_by_samples=Within(50.0, 42.0, 58.0),
    curvature=Estimate(0.2, 0.02),
    curved_trace=Estimate(8.0, 0.5),
    curved_scale=Within(40.0, 30.0, 50.0),
    coherence=Estimate(0.02, 0.002),
    cosine=Estimate(0.02, 0.002),
    cosine_of_noise=0.0,
    agreeing=Estimate(0.55, 0.01),
    agreeing_of_noise=0.5,
    compared=512,
    samples_each=1,
    way="vmap",
    engine="two backward passes",
)

ORDER = OrderReading(
    update=0,
    samples=1024,
    epoch=32,
    batches=32,
    varies=True,
    kinds="classes",
    target_share=0.03,
    input_share=0.03,
    expected_share=0.03,
    target_p=0.6,
    input_p=0.4,
    target_memory=0.0,
    input_memory=0.0,
    target_memory_p=0.5,
    input_memory_p=0.5,
    repeated=0.0,
    repeated_together=0.0,
    expected_together=0.0,
    repeated_p=1.0,
)

GENERALIZATION = GeneralizationReading(
    update=0,
    samples=512,
    train_loss=Estimate(0.7, 0.02),
    valid_loss=Estimate(0.75, 0.02),
    gap=Within(0.05, -0.01, 0.11),
    train_accuracy=Within(0.75, 0.7, 0.8),
    valid_accuracy=Within(0.72, 0.67, 0.77),
    constant=1.39,
    over_constant=Within(-0.64, -0.7, -0.58),
    valid_samples=512,
    train_losses=(0.68, 0.72, 0.7, 0.7),
    valid_losses=(0.73, 0.77, 0.75, 0.75),
)

WELL: tuple[Reading, ...] = (
    FINITE,
    INPUTS,
    WIRING,
    OUTPUTS,
    ACTIVATIONS,
    MODES,
    GRADIENT,
    LAYERS,
    DIRECTION,
    SPECTRUM,
    STEP,
    ESCAPE,
    NOISE,
    ORDER,
    GENERALIZATION,
)
"""One of each kind, of a classifier that learns."""


def only(*given: Reading) -> Readings:
    """The given readings and no others."""
    return Readings(Measured(reading=reading, settings={}, cost=Cost()) for reading in given)


def well_but(*given: Reading) -> Readings:
    """The given readings, and of every other kind that of a training that goes well."""
    return only(*given, *(reading for reading in WELL if type(reading) not in {type(each) for each in given}))


def finding(cause: Cause, *given: Reading) -> Finding:
    """What a cause makes of a training that goes well but for the given readings."""
    return cause.finding(well_but(*given))
