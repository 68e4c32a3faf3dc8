#!/bin/sh
# Shows that an installation works: the command answers, torch computes, a home can be initialised and read.
#
# VENV  the environment that docker/install.sh filled (default /opt/lm_pipeline)
set -eu
cd "$(dirname "$0")/.."

VENV="${VENV:-/opt/lm_pipeline}"
LM_PIPELINE_HOME="$(mktemp -d)"
export LM_PIPELINE_HOME
trap 'rm -rf "$LM_PIPELINE_HOME"' EXIT

"$VENV/bin/python" -m pip check
"$VENV/bin/lm-pipeline" --help >/dev/null
"$VENV/bin/python" -c 'import torch; assert torch.ones(2, 2).sum() == 4; print("torch", torch.__version__)'
"$VENV/bin/lm-pipeline" init
"$VENV/bin/lm-pipeline" status --json >/dev/null
echo "smoke test passed"
