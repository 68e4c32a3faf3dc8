# Everything a person or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# `make setup PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"` takes torch's small CPU build on Linux.
PIP_ARGS ?=

.PHONY: help setup demo up check test test-all lock browser clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP) ## a virtual environment with the pinned packages
$(STAMP): requirements.lock pyproject.toml
	@echo "Installing $$(grep -c == requirements.lock) pinned packages into $(VENV), in some minutes: about 3 GB on disk with torch's CPU"
	@echo "build. On Linux pip takes the CUDA build, several gigabytes more, unless PIP_ARGS says otherwise (see README.md)."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: $(STAMP) ## raw text to leaderboard, English and Chinese
	$(BIN)/lm-pipeline demo

up: $(STAMP) ## Dagster and MLflow in the browser
	$(BIN)/lm-pipeline up

check: $(STAMP) ## lint, types, import floors, YAML
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/dg check yaml

test: $(STAMP) browser ## the tests that CI runs
	$(BIN)/pytest -m "not slow"

test-all: $(STAMP) browser ## all tests, the long ones too
	$(BIN)/pytest

browser: ## Chromium and a Chinese font, where they are missing and apt can bring them
	tests/browser/install.sh

lock: ## pin what a fresh environment resolves to
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet $(PIP_ARGS) torch==2.13.0 --editable '.[dev,gguf,hf,http,onnx,opencc,play,ray,s3,trafilatura]'
	( echo "# Written by \`make lock\`. Torch is pinned without a build tag: the platform's index decides CPU or CUDA."; \
	  build/lock/bin/python -m pip freeze --all --exclude-editable | grep -vE '^(pip|wheel)==' | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' ) > requirements.lock

clean: ## remove the environment, not the data
	rm -rf $(VENV) build
