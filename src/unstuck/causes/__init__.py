"""Causes, one file each: why a training is stuck. In the lecture's order, what is certain first."""

from unstuck.causes.broken_wiring import BROKEN_WIRING
from unstuck.causes.dead_units import DEAD_UNITS
from unstuck.causes.exploding_gradient import EXPLODING_GRADIENT
from unstuck.causes.healthy import HEALTHY
from unstuck.causes.learning_rate_too_high import LEARNING_RATE_TOO_HIGH
from unstuck.causes.learning_rate_too_low import LEARNING_RATE_TOO_LOW
from unstuck.causes.loss_mismatch import LOSS_MISMATCH
from unstuck.causes.non_finite import NON_FINITE
from unstuck.causes.saddle_point import SADDLE_POINT
from unstuck.causes.unnormalized_inputs import UNNORMALIZED_INPUTS
from unstuck.causes.vanishing_gradient import VANISHING_GRADIENT

ALL = (
    NON_FINITE,
    BROKEN_WIRING,
    UNNORMALIZED_INPUTS,
    LOSS_MISMATCH,
    SADDLE_POINT,
    LEARNING_RATE_TOO_HIGH,
    LEARNING_RATE_TOO_LOW,
    VANISHING_GRADIENT,
    EXPLODING_GRADIENT,
    DEAD_UNITS,
    HEALTHY,
)
