"""The lecture's experiments and those of the papers that it cites, in its order: one file each."""

from unstuck.studies import (
    adaptive_rates,
    batch_accuracy,
    batch_normalization,
    batch_time,
    critical_batch,
    critical_point,
    edge_of_stability,
    feature_normalization,
    gradient_norm,
    large_batch,
    loss_landscape,
    loss_surface,
    minimum_ratio,
    momentum,
    saddles_and_index,
    sharp_minima,
    spectrum_during_training,
    valley,
)
from unstuck.study import Study

ALL: tuple[Study, ...] = (
    critical_point.STUDY,
    minimum_ratio.STUDY,
    saddles_and_index.STUDY,
    spectrum_during_training.STUDY,
    loss_landscape.STUDY,
    batch_time.STUDY,
    batch_accuracy.STUDY,
    sharp_minima.STUDY,
    critical_batch.STUDY,
    large_batch.STUDY,
    momentum.STUDY,
    gradient_norm.STUDY,
    valley.STUDY,
    edge_of_stability.STUDY,
    adaptive_rates.STUDY,
    loss_surface.STUDY,
    feature_normalization.STUDY,
    batch_normalization.STUDY,
)
