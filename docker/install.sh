#!/bin/sh
# Installs lm_pipeline into a virtual environment: what the image does, and what a test does without Docker.
#
#   docker/install.sh packages    the dependencies, at the versions of requirements.lock, without developers' tools
#   docker/install.sh project     lm_pipeline itself, from this checkout
#
# VENV         the environment; created if it is not there (default /opt/lm_pipeline)
# PYTHON       the interpreter that creates it (default python3)
# TORCH        cpu: torch's small CPU build; cuda: the build with CUDA (default cpu)
# TORCH_INDEX  index of the CPU build; empty takes whatever pip is configured with
set -eu
cd "$(dirname "$0")/.."

VENV="${VENV:-/opt/lm_pipeline}"
TORCH="${TORCH:-cpu}"
TORCH_INDEX="${TORCH_INDEX-https://download.pytorch.org/whl/cpu}"

case "$TORCH" in
cpu) index="$TORCH_INDEX" ;;
cuda) index="" ;; # PyPI's own wheels for Linux bring CUDA
*)
    echo "TORCH is '$TORCH'; it must be cpu or cuda." >&2
    exit 2
    ;;
esac

pip_install() {
    "$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --quiet \
        ${index:+--extra-index-url "$index"} --constraint requirements.lock "$@"
}

case "${1:-}" in
packages)
    test -x "$VENV/bin/python" || "${PYTHON:-python3}" -m venv "$VENV"
    # The lock also pins what developers use; only what the project depends on goes into the image.
    wanted="$(mktemp)"
    trap 'rm -f "$wanted"' EXIT
    "$VENV/bin/python" - >"$wanted" <<'PYTHON_CODE'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print(*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["http"], sep="\n")
print(*project["build-system"]["requires"], sep="\n")
PYTHON_CODE
    pip_install --requirement "$wanted"
    ;;
project)
    # Editable: declarations in assets/defs are read, and may be added, where they lie.
    pip_install --no-deps --no-build-isolation --editable .
    ;;
*)
    echo "usage: docker/install.sh packages|project" >&2
    exit 2
    ;;
esac
