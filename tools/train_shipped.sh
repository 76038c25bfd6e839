#!/usr/bin/env bash
# Makes the default weights, mftn_mobile_ferplus, from start to end: data in, one half-precision file of 10 MB out.
#
#   npm pack @vladmandic/human@3.3.6
#   tools/train_shipped.sh FERPLUS vladmandic-human-3.3.6.tgz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. In place of the package it takes the
# weights that tools/convert_face_backbone.py made of it. Stopped, the same command goes on where it was.
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
