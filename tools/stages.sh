# Sourced by the scripts that make the models: FERPlus prepared twice, and training stages that go on where they stopped.
# It needs $ferplus (a folder with FER2013Train and FER2013Valid, or an archive of them) and $out, and sets $python, $data
# and $whole.
python=${PYTHON:-.venv/bin/python}
data=$out/data/ferplus whole=$out/data/ferplus-whole

prepare_ferplus() {
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
}

stage() { # recipe, weights to start from, flags
    local recipe=$1 start=$2 run=$out/$1 resume=
    shift 2
    [ ! -f "$run/metrics.json" ] || return 0
    [ ! -f "$run/state.pt" ] || resume=--resume
    "$python" -m mftn train --config "$recipe" --out "$run" --init-from "$start" --data "$data" --data.unaligned "$whole" \
        "$@" $resume
}
