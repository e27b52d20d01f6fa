"""Built-in problems, small and each sick in one known way."""

from unstuck.specimens.small import (
    DEFAULT,
    bowl,
    dead_by_bias,
    deep_exploding,
    deep_product_at_origin,
    deep_sigmoid,
    half_wired,
    healthy,
    product_at_origin,
    rate_too_high,
    rate_too_low,
    softmax_twice,
    spoiled_data,
    unnormalized,
    zero_initialized,
)

__all__ = [
    "DEFAULT",
    "bowl",
    "dead_by_bias",
    "deep_exploding",
    "deep_product_at_origin",
    "deep_sigmoid",
    "half_wired",
    "healthy",
    "product_at_origin",
    "rate_too_high",
    "rate_too_low",
    "softmax_twice",
    "spoiled_data",
    "unnormalized",
    "zero_initialized",
]
