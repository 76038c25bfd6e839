#!/usr/bin/env bash
# Five folds of FERPlus's training split: is its validation split too easy? With the short budget of compare_baseline.sh.
#
#   npm pack @vladmandic/human@3.3.6
#   tools/cross_validate.sh FERPLUS vladmandic-human-3.3.6.tgz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. Instead of the package, you can give the
# weights that tools/convert_face_backbone.py made from it. Stopped runs continue where they were; `python
# benchmarks/folds.py OUT` prints the table, even before all runs are complete.
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
aligned=$data unaligned=$whole
for fold in 0 1 2 3 4; do
    data=$out/folds/$fold/aligned whole=$out/folds/$fold/whole
    [ -f "$whole/dataset.json" ] || "$python" tools/fold.py "$out/folds/$fold" --data "$aligned" "$unaligned" --fold $fold
    stage_named "runs/$fold" ferplus_mobile "$first" --epochs 2 --small-epochs 0 --model.size 80 --ema-decay 0.995 \
        --optimizer.warmup-epochs 0.25 --seed 0 --model.architecture mftn_mobile "$@"
done
