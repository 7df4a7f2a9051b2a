"""Runs a study on a cluster of several nodes on one machine, one of which is lost.

Called as a script, in the folder of the study: ``ray_nodes.py TOOLS SLEEP``. Prints as JSON the
epochs that were trained, the attempts of each run, and what failed.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

os.environ['RAY_USAGE_STATS_ENABLED'] = '0'

import ray
from ray.cluster_utils import Cluster
from stand_in_study import Silent

from mmdet_lla.analysis.ablation.engines.ray_engine import RayEngine
from mmdet_lla.analysis.ablation.study import Study, plan_runs
from mmdet_lla.analysis.ablation.variants import load_variants


def main() -> None:
    tools, sleep = Path(sys.argv[1]), float(sys.argv[2])
    work = Path('work').absolute()
    work.mkdir()
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0))
    ray.init(address=cluster.address, log_to_driver=False)  # the driver lives on the first node
    node = cluster.add_node(num_cpus=1)

    variants = load_variants(['one.py', 'two.py'], {'model.sleep': sleep})
    study = Study(plan_runs(variants, [0], work), RayEngine(work, cpus_per_run=1), tools=tools)
    failures = []
    thread = threading.Thread(target=lambda: failures.extend(study.execute(Silent())), daemon=True)
    thread.start()
    while not any(len(path.read_text().split()) >= 2 for path in work.glob('*/*/epochs')):
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)  # comes late, and takes over
    thread.join()
    results = [run.result() for run in study.runs]
    found = dict(
        epochs=[(run.folder / 'epochs').read_text().split() for run in study.runs],
        attempts=[result and result['attempts'] for result in results],
        failures=[failure.reason for failure in failures],
    )
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(found))


if __name__ == '__main__':
    main()
