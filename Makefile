# One word a job. Needs git, make and Python 3.11+ with venv; everything else is fetched by `setup`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
# Quiet, but errors are shown; no nagging about root or about newer pips.
PIP := PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -qq

.PHONY: help setup demo test check format lock schemas

help:  ## show this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMP)  ## make .venv, and install the system programs that the tests use
	@.ci/system-packages

demo: setup  ## run a whole purchase on this machine
	@$(BIN)/surety demo

test: setup  ## run the tests
	@$(BIN)/pytest

check: setup  ## formatting, lint, types, walls between rooms, file sizes, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings
	$(BIN)/lint-imports
	.ci/file-sizes
	$(BIN)/python -m core.cli.generated --check

format: setup  ## put the code in shape, and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: setup  ## write the generated files anew
	$(BIN)/python -m core.cli.generated

lock:  ## choose the newest versions that pyproject.toml allows, with their hashes (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv (https://docs.astral.sh/uv/)" >&2; exit 1; }
	uv pip compile --quiet --upgrade --extra dev --generate-hashes --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml -o requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@.ci/python-ready $(PYTHON)
	@echo "Making $(VENV) (a minute or so, the first time)…"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@
