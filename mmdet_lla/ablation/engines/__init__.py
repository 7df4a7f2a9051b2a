"""Who runs the jobs of a study: this machine, or a cluster of Ray's.

An engine knows jobs and no study; a study knows the interface of :mod:`engine` alone.
"""

from .engine import Done, Engine, Failed, Job, Place, Said, Told
from .local import LocalEngine

__all__ = ['Done', 'Engine', 'Failed', 'Job', 'LocalEngine', 'Place', 'Said', 'Told']
