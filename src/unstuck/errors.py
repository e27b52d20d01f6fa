"""Everything this package raises on purpose.

::

    UnstuckError
    ├── InputError        what was handed over is at fault: says what, where and what to do
    └── MissingReading    a judgement asked for a measurement that was not made
"""


class UnstuckError(Exception):
    """The root of every error this package raises on purpose."""


class InputError(UnstuckError):
    """The input is at fault. The message is one line: what is wrong, where, and what to do."""


class MissingReading(UnstuckError):
    """A reading was asked for that nobody measured."""
