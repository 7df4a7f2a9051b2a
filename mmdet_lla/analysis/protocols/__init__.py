"""One set of detections by the rules of several evaluations, and what each rule changes."""

from .comparison import Row, Step, compare
from .rules import Judge, Rules
from .toolkits import TOOLKITS, Toolkit

__all__ = ['TOOLKITS', 'Judge', 'Row', 'Rules', 'Step', 'Toolkit', 'compare']
