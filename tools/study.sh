#!/usr/bin/env bash
# The study of docs/study.md: six assigners under one head, and LLA with a dynamic K, on generated crowds, for 2,000 steps of four
# pictures under the paper's schedule, three seeds; then, one seed, two of them three times as long, and LLA with one thing changed at a
# time. 6.5 minutes a run of 2,000 steps on one core of a CPU with bfloat16 (AVX-512).
# Interrupt it as you like; started again, it goes on.
#   [JOBS=RUNS_AT_ONCE] tools/study.sh [WORK_DIR] [NAME=DATA...]
# DATA: real pictures in CrowdHuman's format that the detectors are tested on too, never trained; tools/dataset_converters/mot.py
# makes some.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-work_dirs/study}")
shift || true
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python
export MOBILENET_V2=${MOBILENET_V2:-${XDG_CACHE_HOME:-$HOME/.cache}/mmdet_lla/mobilenet_v2_imagenet.pth}
export CROWD_ROOT=$work/crowd/
"$python" tools/model_converters/mobilenet_v2.py "$MOBILENET_V2"
"$python" tools/make_crowd.py "$work/crowd" --preset wide --density default --size 320x240 --train 1600 --val 160 --seed 2001

# A config of this study: another under the paper's schedule, whose 30,000 steps are so many here.
mkdir -p "$work/configs"
config() { # NAME BASE EPOCHS [LINE]
    printf '%s\n' "_base_ = '$PWD/configs/$2'" \
        "train_cfg = dict(max_epochs=$3, val_interval=$(($3 * 4 / 5)))" \
        'param_scheduler = [' \
        "    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50)," \
        "    dict(type='MultiStepLR', by_epoch=False, milestones=[$(($3 * 800 / 3)), $(($3 * 360))])," \
        ']' "${4:-}" >"$work/configs/${1//[ ,]/_}.py"
    echo "$1=$work/configs/${1//[ ,]/_}.py"
}
demo=demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py
under() { config "$1" "ablations/assigners/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py" "${3:-5}"; }
knob() { config "$1" "ablations/knobs/lla-fcos_mobilenetv2_fpn_$2_1xb4-12e_crowd.py" 5; }

# Small pictures, a narrow and shallow head, no other process for the pictures.
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
    "$python" tools/ablate.py --jobs "${JOBS:-1}" --cpus-per-run 1 --work-dir "$work/$name" "$@" \
        --cfg-options "${options[@]}" "test_dataloader.$pipeline.1.scale=($scale)" "${elsewhere[@]}"
}

lla=$(under LLA lla)
dynamic=$(knob 'LLA, dynamic K' kdynamic)
all=("$lla" "$(under MaxIoU maxiou)" "$(under ATSS atss)" "$(under SimOTA simota)" "$(under TaskAligned taskaligned)"
    "$(under OTA ota)" "$dynamic")
elsewhere=()
ablate assigners 320,240 "${all[@]}" --seeds 0 1 2
for spec in "$@"; do
    data=${spec#*=}/
    elsewhere=("test_dataloader.dataset.data_root=$data" "test_evaluator.ann_file=${data}annotation_val.odgt")
    ablate "${spec%%=*}" 512,384 "${all[@]}" --seeds 0 1 2 --weights-of "$work/assigners"
done

# Is it the length? Three times as long.
elsewhere=()
ablate long 320,240 "$(under 'LLA, 6,000 steps' lla 15)" "$(under 'ATSS, 6,000 steps' atss 15)" --seeds 0

# What does LLA lack on tall people? One thing at a time.
start="model = dict(bbox_head=dict(init_cfg=dict(override=[
    dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01), dict(type='Normal', name='retina_reg', std=0.01)])))"
ablate tall 320,240 "$lla" "$(knob 'K 20' k20)" "$dynamic" "$(knob 'no IoU branch' no-iou)" \
    "$(config 'boxes from none' "${demo}" 5 "$start")" --seeds 0
