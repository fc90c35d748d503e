# Every target is a convenience. docs/ and CONTRIBUTING.md have the plain commands, which also work on Windows.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# Without this, MLflow's server starts eight processes that this project does not need.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

.DEFAULT_GOAL := help
.PHONY: help baseline test test-long ray-test services-test lint compare sync push pull services ui undo zenml zenml-test lock sbom

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

baseline: .venv/installed ## set up, then run the pipeline: data, training, test metrics
	$(BIN)/dvc repro
	$(BIN)/dvc metrics diff --all
	@{ git config user.name && git config user.email; } >/dev/null || \
		echo 'git has no user.name or user.email, which dvc exp run needs: git config --global user.name NAME (and user.email)'

test: .venv/installed-dev lint ## set up, then check and test (about 15 minutes)
	$(BIN)/pytest -m "not long and not ray and not zenml"

test-long: .venv/installed-dev ## test what takes long: a team's work on real services, real trainings, kills (about 22 minutes)
	$(BIN)/pytest -m long

ray-test: .venv/installed-dev ## test the work on a Ray cluster, on machines made of Linux namespaces (6 minutes)
	$(BIN)/python -m pip install -r requirements-ray.txt
	$(BIN)/pytest --numprocesses=0 -m ray tests/cluster

services-test: .venv/installed-dev ## test only the work of a team with the services of docker-compose.yml, without Docker
	$(BIN)/pytest --numprocesses=0 tests/team

lint: .venv/installed-dev ## check format, lint rules, types and the imports between packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

compare: .venv/installed ## show every run in one table
	$(BIN)/python -m stages compare

undo: .venv/installed ## move staging back to the previous model
	$(BIN)/python -m stages registry undo

sync: .venv/installed ## copy the runs that MLflow lacks to MLflow
	$(BIN)/python -m stages sync

push: .venv/installed ## share data, models, experiments and runs with the team
	$(BIN)/python -m stages push

pull: .venv/installed ## fetch data, models, experiments and runs of the team
	$(BIN)/python -m stages pull

services: .venv/installed ## check whether MLflow, the studies' database and DVC's remote can be used
	$(BIN)/python -m stages services

ui: .venv/installed ## start MLflow on http://127.0.0.1:5000
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

zenml: .venv/installed .venv-zenml/installed ## run the pipeline in ZenML, which gets an environment of its own
	.venv-zenml/bin/python integrations/zenml/pipeline.py

zenml-test: .venv/installed-dev .venv-zenml/installed ## test the pipeline in ZenML
	$(BIN)/pytest --numprocesses=0 tests/integrations

lock: .venv/installed-dev ## pin the dependencies again; UPGRADE=--upgrade allows new versions
	$(BIN)/python tools/lock.py $(UPGRADE)

sbom: .venv/installed-dev ## write the packages of a run and their licences: sbom/bom.json (CycloneDX), sbom/licences.md
	$(BIN)/python tools/sbom.py

# TORCH_INDEX: a package index with torch's CPU build, for machines without a GPU (see docs/installation.md).
TORCH = $(shell grep -oE '^torch(vision)?==[0-9.]+' requirements.txt)
.venv/installed: requirements.txt requirements-cuda.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the packages: some minutes (on Linux 6 GB with CUDA; docs/installation.md has the small CPU build)"
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) $(TORCH))
	$(BIN)/python -m pip install -r requirements.txt
	@$(BIN)/python -c "import cv2" || { echo "OpenCV needs system libraries: apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@

.venv-zenml/installed: integrations/zenml/requirements.txt
	test -x .venv-zenml/bin/python || $(PYTHON) -m venv .venv-zenml
	.venv-zenml/bin/python -m pip install -r $<
	touch $@
