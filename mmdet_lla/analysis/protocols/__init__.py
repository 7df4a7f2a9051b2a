"""Protocol comparison: one set of detections under the rules of several evaluations."""

from .comparison import Row, Step, compare
from .rules import ProtocolEvaluator, Rules
from .toolkits import TOOLKITS, Task, Toolkit

__all__ = ['TOOLKITS', 'ProtocolEvaluator', 'Row', 'Rules', 'Step', 'Task', 'Toolkit', 'compare']
