# Every command here is a convenience: README.md gives the plain ones, which also work on Windows.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# MLflow's server would start eight processes that nothing here needs.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

.DEFAULT_GOAL := help
.PHONY: help baseline test services-test lint compare sync push pull services ui undo lock

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

baseline: .venv/installed ## set up, then run the pipeline: data, training, test metrics
	$(BIN)/dvc repro
	$(BIN)/dvc metrics show

test: .venv/installed-dev lint ## set up, then check and test everything (about 14 minutes)
	$(BIN)/pytest

services-test: .venv/installed-dev ## only what a team does with the services of docker-compose.yml, without Docker
	$(BIN)/pytest --numprocesses=0 tests/team

lint: .venv/installed-dev ## format, lint, types and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

compare: .venv/installed ## everything that was run, in one table
	$(BIN)/python -m stages compare

undo: .venv/installed ## staging goes back to the model that it was at before
	$(BIN)/python -m stages registry undo

sync: .venv/installed ## mirror to MLflow whatever it has missed
	$(BIN)/python -m stages sync

push: .venv/installed ## share data, models, experiments and runs with the team
	$(BIN)/python -m stages push

pull: .venv/installed ## take what the team has shared
	$(BIN)/python -m stages pull

services: .venv/installed ## whether MLflow, the studies' database and DVC's remote can be used
	$(BIN)/python -m stages services

ui: .venv/installed ## MLflow on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

lock: .venv/installed-dev ## pin the dependencies again; UPGRADE=--upgrade takes new versions
	$(BIN)/python tools/lock.py $(UPGRADE)

# TORCH_INDEX: a package index with torch's CPU build, for machines without a GPU (see README.md).
TORCH = $(shell grep -oE '^torch(vision)?==[0-9.]+' requirements.txt)
.venv/installed: requirements.txt requirements-cuda.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the packages: some minutes (on Linux 6 GB with CUDA; README.md tells how to take the small CPU build)"
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) $(TORCH))
	$(BIN)/python -m pip install -r requirements.txt
	@$(BIN)/python -c "import cv2" || { echo "OpenCV needs system libraries: apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@
