"""A Ray cluster whose nodes are processes of this machine."""

import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster

CPUS = 2  # of the first node
GPUS = 2  # which it has by name alone
SETTINGS = dict(
    # Processes that have imported torch stay for the next test, and none is started for nothing.
    num_workers_soft_limit=8,
    enable_worker_prestart=False,
    prestart_worker_first_driver=False,
    worker_niceness=0,  # 15 by default, which starves beside other tests
    # A killed node is missed after seconds, one that is only busy after minutes.
    health_check_period_ms=1000,
    health_check_failure_threshold=5,
    health_check_timeout_ms=60000,
)

TRIES = 5
LEAVE_S = 30.0


@contextmanager
def cluster_of_one(num_cpus=CPUS, num_gpus=GPUS):
    """A cluster of one node, joined; all of its processes end with it, and with this one.

    Its directory is its own, and nobody who looks for a cluster finds it: other tests have theirs.
    """
    with (
        # /tmp: the paths of sockets have to be short
        tempfile.TemporaryDirectory(
            prefix='ray', dir='/tmp', ignore_cleanup_errors=True
        ) as directory,
        patch.dict(os.environ, RAY_TMPDIR=directory, RAY_USAGE_STATS_ENABLED='0'),
    ):
        Path(directory, 'ray').mkdir()
        cluster = Cluster()
        try:
            _add(
                cluster,
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                include_dashboard=False,
                _system_config=SETTINGS,
            )
            ray.init(address=cluster.address, log_to_driver=False, logging_level='WARNING')
            yield cluster
        finally:
            _leave(cluster)
            cluster.shutdown()


def _leave(cluster):
    """Leave the cluster; Ray itself waits for the answer without a limit.

    Once it did not come; with nobody there to give it, Ray goes on.
    """
    late = threading.Timer(LEAVE_S, lambda: cluster.head_node.kill_gcs_server(check_alive=False))
    late.start()
    try:
        ray.shutdown()
    finally:
        late.cancel()


@contextmanager
def another_node(cluster, **resources):
    """Add a node until it is lost or the test ends."""
    node = _add(cluster, **resources)
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


def _add(cluster, **kwargs):
    """Add a node, with retries: Ray allows 30 s for its start, too little on a busy machine."""
    for left in reversed(range(TRIES)):
        try:
            return cluster.add_node(wait=False, include_log_monitor=False, **kwargs)
        except Exception as error:  # Ray's has no class of its own
            if not left or 'timed out' not in str(error):
                raise
