#!/bin/sh
# All that wants a GPU, in one go: the tests marked gpu, then the benchmarks that run on one. From the repository's root:
#   sh benchmarks/gpu.sh [folder for the output]
# PYTHON names the interpreter. On a machine that reaches no index, bring wheels and name them in PYTHONPATH.
set -u
out=${1:-gpu-results}
python=${PYTHON:-python}
mkdir -p "$out"
export MLFLOW_DISABLE_TELEMETRY=true OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1
failed=0
run() {
    name=$1
    shift
    echo "== $name"
    timeout "${LIMIT_S:-240}" "$@" >"$out/$name.txt" 2>&1 || { echo "failed: $?"; failed=1; }
    tail -n 20 "$out/$name.txt"
}
nvidia-smi -L
run tests "$python" -m pytest -n0 -q -m gpu tests/encoder
run encoding "$python" -m benchmarks.encoding
run transformer "$python" -m benchmarks.encoding --transformer ViT-L
run compression "$python" -m benchmarks.compression
run training "$python" -m benchmarks.encoder_training --batch 1024
exit $failed
