"""The lecture's experiments and those of the papers that it cites, in its order: one file each."""

from unstuck.studies import minimum_ratio
from unstuck.study import Study

ALL: tuple[Study, ...] = (minimum_ratio.STUDY,)
