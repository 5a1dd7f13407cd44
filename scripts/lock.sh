#!/bin/sh
# Writes requirements.lock anew: a fresh virtual environment with the newest versions the extras allow.
# Usage: scripts/lock.sh   (then look at the difference and run `make test`)
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "torch==2.13.0+cpu" hatchling editables ".[torch,onnx,tflite,plan,plot,evaluate,demo,hardware,dev]"
{
    sed -n '/^#/p' requirements.lock
    "$folder/venv/bin/python" -m pip freeze --exclude rnnpool-mcu | sort -f
} > "$folder/requirements.lock"
mv "$folder/requirements.lock" requirements.lock
