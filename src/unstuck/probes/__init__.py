"""Probes, one file each: what can be measured. Cheapest first."""

from typing import Any

from unstuck.probes.activations import Activations as Activations
from unstuck.probes.anatomy import Anatomy as Anatomy
from unstuck.probes.batch_time import BatchTime as BatchTime
from unstuck.probes.density import Density as Density
from unstuck.probes.direction import Direction as Direction
from unstuck.probes.escape import Escape as Escape
from unstuck.probes.finite import Finite as Finite
from unstuck.probes.generalization import Generalization as Generalization
from unstuck.probes.gradient import Gradient as Gradient
from unstuck.probes.inputs import Inputs as Inputs
from unstuck.probes.landscape import Landscape as Landscape
from unstuck.probes.layers import Layers as Layers
from unstuck.probes.loss_surface import LossSurface as LossSurface
from unstuck.probes.modes import Modes as Modes
from unstuck.probes.noise import Noise as Noise
from unstuck.probes.order import Order as Order
from unstuck.probes.outputs import Outputs as Outputs
from unstuck.probes.sharpness import Sharpness as Sharpness
from unstuck.probes.spectrum import Spectrum as Spectrum
from unstuck.probes.step import Step as Step
from unstuck.probes.trace import Trace as Trace
from unstuck.probes.wiring import Wiring as Wiring

ALL: tuple[type[Any], ...] = (
    Finite,
    Inputs,
    Wiring,
    Order,
    Outputs,
    LossSurface,
    Activations,
    Modes,
    Generalization,
    Gradient,
    Layers,
    Direction,
    Anatomy,
    Noise,
    Spectrum,
    Trace,
    Density,
    Step,
    Escape,
    Sharpness,
    BatchTime,
    Landscape,
)
