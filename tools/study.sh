#!/usr/bin/env bash
# The study that the README begins to report, meant for about two hours of two idle CPU cores (it has not been run to its end).
# Interrupt it as you like; started again, it goes on.
#   tools/study.sh [WORK_DIR] [STREET]
# STREET: a data set of real pictures in CrowdHuman's format, tools/dataset_converters/mot.py makes one; left out if not given.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-work_dirs/study}
street=${2:-}
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python
export MOBILENET_V2=${MOBILENET_V2:-${XDG_CACHE_HOME:-$HOME/.cache}/mmdet_lla/mobilenet_v2_imagenet.pth}
"$python" tools/model_converters/mobilenet_v2.py "$MOBILENET_V2"

under() { echo "$1=configs/ablations/assigners/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py"; }
knob() { echo "$1=configs/ablations/knobs/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py"; }
assigners=("$(under MaxIoU maxiou)" "$(under ATSS atss)" "$(under SimOTA simota)" "$(under TaskAligned taskaligned)"
    "$(under DynamicSoftLabel dynamicsoftlabel)")
lla="LLA=configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py"
# Small enough for six assigners, two densities and three seeds.
small=(train_dataloader.dataset.pipeline.2.scale='(400,300)' val_dataloader.dataset.pipeline.1.scale='(400,300)'
    test_dataloader.dataset.pipeline.1.scale='(400,300)' train_cfg.max_epochs=8 train_cfg.val_interval=9
    param_scheduler.1.end=8)
bf16=(optim_wrapper.type=AutocastOptimWrapper)

study() { # NAME DATA OPTIONS... -- CONFIGS...
    local name=$1 data=$2 options=()
    shift 2
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    CROWD_ROOT="$data/" "$python" tools/ablate.py "$@" --seeds 0 1 2 --jobs 2 --no-checkpoints --work-dir "$work/$name" \
        --cfg-options "${options[@]}"
}

for density in default dense; do
    "$python" tools/make_crowd.py "$work/data/$density" --train 240 --val 80 --density $density
    study "$density" "$work/data/$density" "${small[@]}" "${bf16[@]}" -- "$lla" "${assigners[@]}"
done
if [ -n "$street" ]; then
    study street "$street" "${bf16[@]}" -- "$lla" "${assigners[@]}"
fi
study knobs "$work/data/default" "${small[@]}" "${bf16[@]}" -- "$lla" \
    "$(knob 'K 1' k1)" "$(knob 'K 5' k5)" "$(knob 'K 15' k15)" "$(knob 'K 20' k20)" "$(knob 'K dynamic' kdynamic)" \
    "$(knob 'reg 0.5' reg0.5)" "$(knob 'reg 1' reg1)" "$(knob 'reg 2' reg2)" "$(knob 'reg 3' reg3)"
