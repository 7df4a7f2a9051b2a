#!/usr/bin/env bash
# Several processes on one machine or, with NNODES, NODE_RANK and MASTER_ADDR set, on several.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/dist_train.sh CONFIG PROCESSES [options of train.py]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
ARGS=("${@:3}")
exec python -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}" \
    --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}" \
    --nproc_per_node "$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch ${ARGS[@]+"${ARGS[@]}"}
