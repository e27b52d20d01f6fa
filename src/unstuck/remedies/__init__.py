"""Remedies, one file each: what can be changed. In the order of how much they interfere."""

from typing import Any

from unstuck.remedies.add_momentum import AddMomentum as AddMomentum
from unstuck.remedies.clip_gradient import ClipGradient as ClipGradient
from unstuck.remedies.cross_entropy import CrossEntropy as CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate as DecayLearningRate
from unstuck.remedies.escape_saddle import EscapeSaddle as EscapeSaddle
from unstuck.remedies.lower_learning_rate import LowerLearningRate as LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs as NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate as RaiseLearningRate
from unstuck.remedies.reinitialize import Reinitialize as Reinitialize
from unstuck.remedies.train_all_parameters import TrainAllParameters as TrainAllParameters

ALL: tuple[type[Any], ...] = (
    TrainAllParameters,
    NormalizeInputs,
    CrossEntropy,
    LowerLearningRate,
    DecayLearningRate,
    RaiseLearningRate,
    ClipGradient,
    AddMomentum,
    EscapeSaddle,
    Reinitialize,
)
