#!/usr/bin/env bash
# Reproduces the study of docs/results/study.md: six assigners under one head and LLA with a dynamic K, 2,000 steps of four generated
# images, three seeds, tested on generated crowds and on the data sets given; then the arguments of LLA one at a time, one seed.
# About 6.5 minutes per run on one core of a CPU with bfloat16. An interrupted study continues when it is started again.
#   [JOBS=N] benchmarks/study.sh [WORK_DIR] [NAME=DATA...]      DATA: CrowdHuman format, tested, never trained on
set -euo pipefail
configs=$(cd "$(dirname "$0")/../configs" && pwd)
work=$(realpath -m "${1:-work_dirs/study}")
shift || true
command=${MMDET_LLA:-mmdet-lla}
export MOBILENET_V2=${MOBILENET_V2:-${XDG_CACHE_HOME:-$HOME/.cache}/mmdet_lla/mobilenet_v2_imagenet.pth}
export CROWD_ROOT=$work/crowd/
"$command" mobilenet-v2 "$MOBILENET_V2"
[ -f "$work/crowd/annotation_val.odgt" ] ||
    "$command" make-crowd "$work/crowd" --preset wide --density default --size 320x240 --train 1600 --val 160 --seed 2001

# The paper's schedule, whose 30,000 steps are 2,000 here.
mkdir -p "$work/configs"
config() { # NAME
    printf '%s\n' "_base_ = '$configs/ablations/assigners/lla-fcos_mobilenetv2_fpn_${1,,}_1xb4-12e_crowd.py'" \
        'train_cfg = dict(max_epochs=5, val_interval=4)' \
        'param_scheduler = [' \
        "    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50)," \
        "    dict(type='MultiStepLR', by_epoch=False, milestones=[1333, 1800])," \
        ']' >"$work/configs/$1.py"
    echo "$1=$work/configs/$1.py"
}

# Small images and a narrow, shallow head.
pipeline=dataset.pipeline
options=(
    "train_dataloader.$pipeline.2.scale=(320,240)" "val_dataloader.$pipeline.1.scale=(320,240)"
    model.neck.out_channels=64 model.bbox_head.in_channels=64 model.bbox_head.feat_channels=64 model.bbox_head.stacked_convs=1
    optim_wrapper.type=AutocastOptimWrapper default_hooks.checkpoint.interval=1 default_hooks.logger.interval=50
)
for loader in train val test; do
    options+=("${loader}_dataloader.num_workers=0" "${loader}_dataloader.persistent_workers=False")
done
ablate() { # NAME SCALE ARGUMENTS...
    local name=$1 scale=$2
    shift 2
    "$command" ablate --jobs "${JOBS:-1}" --cpus-per-run 1 --work-dir "$work/$name" "$@" \
        --cfg-options "${options[@]}" "test_dataloader.$pipeline.1.scale=($scale)" "${elsewhere[@]}"
}

assigners=()
for name in LLA MaxIoU ATSS SimOTA TaskAligned OTA; do
    assigners+=("$(config "$name")")
done
elsewhere=()
ablate assigners 320,240 "${assigners[@]}" --sweep topk=dynamic --seeds 0 1 2
for spec in "$@"; do
    data=${spec#*=}/
    elsewhere=("test_dataloader.dataset.data_root=$data" "test_evaluator.ann_file=${data}annotation_val.odgt")
    ablate "${spec%%=*}" 512,384 "${assigners[@]}" --sweep topk=dynamic --seeds 0 1 2 --weights-of "$work/assigners"
done
elsewhere=()
ablate knobs 320,240 "${assigners[0]}" --sweep topk=1,5,20,dynamic --sweep reg_weight=0.5,1.0,3.0 --sweep candidates=all \
    --sweep cls_cost=bce --sweep contested=picked --seeds 0
