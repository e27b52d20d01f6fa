"""Built-in problems, small and each sick in one known way."""

from unstuck.specimens.batches import (
    full_batch,
    one_at_a_time,
    sorted_data,
)
from unstuck.specimens.small import (
    DEFAULT,
    bowl,
    dead_by_bias,
    deep_exploding,
    deep_product_at_origin,
    deep_sigmoid,
    half_wired,
    healthy,
    normalized,
    product_at_origin,
    rate_too_high,
    rate_too_low,
    softmax_twice,
    spoiled_data,
    stale_statistics,
    unnormalized,
    zero_initialized,
)
from unstuck.specimens.surfaces import (
    correlated_features,
    one_sided,
    steep_start,
)
from unstuck.specimens.unseen import (
    decayed,
    dropped,
    enough_samples,
    few_samples,
    random_labels,
)

__all__ = [
    "DEFAULT",
    "bowl",
    "correlated_features",
    "dead_by_bias",
    "decayed",
    "deep_exploding",
    "deep_product_at_origin",
    "deep_sigmoid",
    "dropped",
    "enough_samples",
    "few_samples",
    "full_batch",
    "half_wired",
    "healthy",
    "normalized",
    "one_at_a_time",
    "one_sided",
    "product_at_origin",
    "random_labels",
    "rate_too_high",
    "rate_too_low",
    "softmax_twice",
    "sorted_data",
    "spoiled_data",
    "stale_statistics",
    "steep_start",
    "unnormalized",
    "zero_initialized",
]
