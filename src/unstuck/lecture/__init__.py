"""Hung-yi Lee, *Machine Learning* 2021, "What to do when a network fails to train": its claims in its own order."""

from unstuck.lecture.batch_and_momentum import CHAPTER as BATCH_AND_MOMENTUM
from unstuck.lecture.chapter import LANGUAGES, Chapter, Language, Line, Shown, Text
from unstuck.lecture.critical_points import CHAPTER as CRITICAL_POINTS
from unstuck.lecture.learning_rate import CHAPTER as LEARNING_RATE
from unstuck.lecture.loss import CHAPTER as LOSS
from unstuck.lecture.normalization import CHAPTER as NORMALIZATION

CHAPTERS: tuple[Chapter, ...] = (CRITICAL_POINTS, BATCH_AND_MOMENTUM, LEARNING_RATE, LOSS, NORMALIZATION)

__all__ = ["CHAPTERS", "LANGUAGES", "Chapter", "Language", "Line", "Shown", "Text"]
