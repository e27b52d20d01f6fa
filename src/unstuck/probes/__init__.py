"""Probes, one file each: what can be measured. Cheapest first."""

from typing import Any

from unstuck.probes.direction import Direction
from unstuck.probes.escape import Escape
from unstuck.probes.finite import Finite
from unstuck.probes.gradient import Gradient
from unstuck.probes.inputs import Inputs
from unstuck.probes.outputs import Outputs
from unstuck.probes.spectrum import Spectrum
from unstuck.probes.step import Step
from unstuck.probes.wiring import Wiring

ALL: tuple[type[Any], ...] = (
    Finite,
    Inputs,
    Wiring,
    Outputs,
    Gradient,
    Direction,
    Spectrum,
    Step,
    Escape,
)
