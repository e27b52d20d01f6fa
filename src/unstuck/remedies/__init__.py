"""Remedies, one file each: what can be changed. In the order of how much they interfere."""

from typing import Any

from unstuck.remedies.adaptive_optimizer import AdaptiveOptimizer as AdaptiveOptimizer
from unstuck.remedies.add_momentum import AddMomentum as AddMomentum
from unstuck.remedies.add_normalization import AddNormalization as AddNormalization
from unstuck.remedies.clip_gradient import ClipGradient as ClipGradient
from unstuck.remedies.cross_entropy import CrossEntropy as CrossEntropy
from unstuck.remedies.decay_learning_rate import DecayLearningRate as DecayLearningRate
from unstuck.remedies.decorrelate_inputs import DecorrelateInputs as DecorrelateInputs
from unstuck.remedies.early_stop import EarlyStop as EarlyStop
from unstuck.remedies.escape_saddle import EscapeSaddle as EscapeSaddle
from unstuck.remedies.larger_batch import LargerBatch as LargerBatch
from unstuck.remedies.layerwise_scaling import LayerwiseScaling as LayerwiseScaling
from unstuck.remedies.lower_learning_rate import LowerLearningRate as LowerLearningRate
from unstuck.remedies.normalize_inputs import NormalizeInputs as NormalizeInputs
from unstuck.remedies.raise_learning_rate import RaiseLearningRate as RaiseLearningRate
from unstuck.remedies.recalibrate_batch_norm import RecalibrateBatchNorm as RecalibrateBatchNorm
from unstuck.remedies.reduce_regularization import ReduceRegularization as ReduceRegularization
from unstuck.remedies.regularize import Regularize as Regularize
from unstuck.remedies.reinitialize import Reinitialize as Reinitialize
from unstuck.remedies.scale_rate_with_warm_up import ScaleRateWithWarmUp as ScaleRateWithWarmUp
from unstuck.remedies.shuffle import Shuffle as Shuffle
from unstuck.remedies.smaller_batch import SmallerBatch as SmallerBatch
from unstuck.remedies.train_all_parameters import TrainAllParameters as TrainAllParameters
from unstuck.remedies.warm_up import WarmUp as WarmUp
from unstuck.remedies.weight_averaging import WeightAveraging as WeightAveraging

ALL: tuple[type[Any], ...] = (
    TrainAllParameters,
    RecalibrateBatchNorm,
    NormalizeInputs,
    DecorrelateInputs,
    Shuffle,
    CrossEntropy,
    LowerLearningRate,
    DecayLearningRate,
    RaiseLearningRate,
    WarmUp,
    ScaleRateWithWarmUp,
    EarlyStop,
    LargerBatch,
    SmallerBatch,
    ReduceRegularization,
    Regularize,
    ClipGradient,
    AddMomentum,
    WeightAveraging,
    AdaptiveOptimizer,
    LayerwiseScaling,
    EscapeSaddle,
    Reinitialize,
    AddNormalization,
)
