"""Causes, one file each: why a training is stuck. In the lecture's order, what is certain first."""

from unstuck.causes.batch_too_large import BATCH_TOO_LARGE
from unstuck.causes.broken_wiring import BROKEN_WIRING
from unstuck.causes.dead_units import DEAD_UNITS
from unstuck.causes.exploding_gradient import EXPLODING_GRADIENT
from unstuck.causes.gradient_noise import GRADIENT_NOISE
from unstuck.causes.healthy import HEALTHY
from unstuck.causes.ill_conditioned import ILL_CONDITIONED
from unstuck.causes.learning_rate_too_high import LEARNING_RATE_TOO_HIGH
from unstuck.causes.learning_rate_too_low import LEARNING_RATE_TOO_LOW
from unstuck.causes.local_minimum import LOCAL_MINIMUM
from unstuck.causes.loss_mismatch import LOSS_MISMATCH
from unstuck.causes.no_signal import NO_SIGNAL
from unstuck.causes.non_finite import NON_FINITE
from unstuck.causes.over_regularized import OVER_REGULARIZED
from unstuck.causes.overfitting import OVERFITTING
from unstuck.causes.saddle_point import SADDLE_POINT
from unstuck.causes.train_eval_mismatch import TRAIN_EVAL_MISMATCH
from unstuck.causes.unnormalized_inputs import UNNORMALIZED_INPUTS
from unstuck.causes.unshuffled_data import UNSHUFFLED_DATA
from unstuck.causes.unstable_start import UNSTABLE_START
from unstuck.causes.vanishing_gradient import VANISHING_GRADIENT

ALL = (
    NON_FINITE,
    BROKEN_WIRING,
    UNSHUFFLED_DATA,
    UNNORMALIZED_INPUTS,
    LOSS_MISMATCH,
    SADDLE_POINT,
    LOCAL_MINIMUM,
    GRADIENT_NOISE,
    BATCH_TOO_LARGE,
    LEARNING_RATE_TOO_HIGH,
    LEARNING_RATE_TOO_LOW,
    ILL_CONDITIONED,
    UNSTABLE_START,
    VANISHING_GRADIENT,
    EXPLODING_GRADIENT,
    DEAD_UNITS,
    TRAIN_EVAL_MISMATCH,
    NO_SIGNAL,
    OVER_REGULARIZED,
    OVERFITTING,
    HEALTHY,
)
