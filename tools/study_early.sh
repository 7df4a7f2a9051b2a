#!/usr/bin/env bash
# The short trainings that docs/study.md reports beside tools/study.sh: six assigners in two densities and on a street, and sweeps of
# LLA's knobs. On two slow CPU cores (AVX2) the assigners took two hours beside other work, the sweeps 49 minutes.
# Interrupt it as you like; started again, it goes on.
#   tools/study_early.sh [WORK_DIR] [STREET]
# STREET: a data set of real pictures in CrowdHuman's format, tools/dataset_converters/mot.py makes one; left out if not given.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-work_dirs/study_early}
street=${2:-}
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python
export MOBILENET_V2=${MOBILENET_V2:-${XDG_CACHE_HOME:-$HOME/.cache}/mmdet_lla/mobilenet_v2_imagenet.pth}
"$python" tools/model_converters/mobilenet_v2.py "$MOBILENET_V2"

under() { echo "$1=configs/ablations/assigners/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py"; }
knob() { echo "$1=configs/ablations/knobs/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py"; }
assigners=("$(under MaxIoU maxiou)" "$(under ATSS atss)" "$(under SimOTA simota)" "$(under TaskAligned taskaligned)"
    "$(under DynamicSoftLabel dynamicsoftlabel)" "$(under OTA ota)")
lla="LLA=configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py"
# Small pictures, a narrow and shallow head, two pictures a step.
small() { # WIDTH,HEIGHT EPOCHS
    echo train_dataloader.batch_size=2 "train_dataloader.dataset.pipeline.2.scale=($1)" \
        "val_dataloader.dataset.pipeline.1.scale=($1)" "test_dataloader.dataset.pipeline.1.scale=($1)" \
        train_cfg.max_epochs=$2 train_cfg.val_interval=$2 param_scheduler.1.end=$2 model.neck.out_channels=64 \
        model.bbox_head.in_channels=64 model.bbox_head.feat_channels=64 model.bbox_head.stacked_convs=1
}

study() { # NAME DATA OPTIONS CONFIGS...
    local name=$1 data=$2 options=$3
    shift 3
    # Options hold no spaces, and are split at them.
    # shellcheck disable=SC2086
    CROWD_ROOT="$data/" "$python" tools/ablate.py "$@" --seeds 0 1 2 --jobs 2 --no-checkpoints --work-dir "$work/$name" \
        --cfg-options $options
}

for density in default dense; do
    "$python" tools/make_crowd.py "$work/data/$density" --train 240 --val 80 --size 320x240 --density $density
    study $density "$work/data/$density" "$(small 320,240 4)" "$lla" "${assigners[@]}"
done
if [ -n "$street" ]; then
    study street "$street" "$(small 400,225 4)" "$lla" "${assigners[@]}"
fi
study knobs "$work/data/default" "$(small 320,240 4)" "$lla" "$(knob 'K 1' k1)" "$(knob 'K 5' k5)" "$(knob 'K 15' k15)" \
    "$(knob 'K 20' k20)" "$(knob 'K dynamic' kdynamic)" "$(knob 'reg 0.5' reg0.5)" "$(knob 'reg 1' reg1)" \
    "$(knob 'reg 2' reg2)" "$(knob 'reg 3' reg3)" "$(knob 'all candidates' all)" "$(knob 'centre prior' center)" \
    "$(knob 'no IoU branch' no-iou)"
