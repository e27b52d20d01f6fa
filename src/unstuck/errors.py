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


def in_a_line(error: BaseException) -> str:
    """What an error says in one line, with its kind where it is not ours."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UnstuckError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
