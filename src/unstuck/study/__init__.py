"""What a study is made of: a claim, the runs that test it, what is measured on them, and gates that were fixed before.

A study is one file that makes one :class:`~unstuck.study.description.Study`.
"""

from unstuck.study.description import Run, Runs, Study
from unstuck.study.gate import Checked, Gate, Measurement, Verdict, verdict_of

__all__ = ["Checked", "Gate", "Measurement", "Run", "Runs", "Study", "Verdict", "verdict_of"]
