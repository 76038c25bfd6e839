#!/usr/bin/env bash
# Trains mftn_mobile_robust, a student of the default and the accurate model: the default weights are trained further on
# the raters' votes and on unlabelled faces, with corruptions.
#
#   tools/train_student.sh FERPLUS FACES OUT [flags for `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, FACES a folder of unlabelled face crops; either may be an
# archive. The teachers are the default model and weights/mftn_facenet_ferplus, or the models in TEACHERS. The result is
# OUT/mftn_mobile_robust.onnx. If stopped, run the same command again to continue.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
mkdir -p "$3"
ferplus=$(realpath "$1")
faces=$(realpath "$2")
out=$(realpath "$3")
shift 3
cd "$(dirname "$0")/.."
. tools/stages.sh
prepare_ferplus
# shellcheck disable=SC2086
teach ${TEACHERS:-mftn_mobile_ferplus weights/mftn_facenet_ferplus/mftn_facenet_ferplus/mftn_facenet_ferplus.onnx}

[ -f "$out/initial.safetensors" ] || "$python" tools/recover_weights.py mftn_mobile_ferplus "$data" "$out/initial.safetensors"
stage ferplus_mobile_student "$out/initial.safetensors" "$@"
stage ferplus_mobile_robust "$out/ferplus_mobile_student/best.safetensors" "$@"
"$python" -m mftn export "$out/ferplus_mobile_robust/best.safetensors" --out "$out/mftn_mobile_robust.onnx" \
    --name mftn_mobile_robust --precision fp16 --data "$data" --overwrite
