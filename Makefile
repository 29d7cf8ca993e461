# Two commands do everything: `make demo` and `make test`. Both make .venv when it is missing or the pins changed.
PYTHON ?= python3.11
SEED ?= 0
BIN := $(CURDIR)/.venv/bin

export PATH := $(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR := false
export PYTHONUNBUFFERED := 1
# Threads that spin while they wait make a shared machine many times slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint clean

demo: .venv/installed  ## the whole study on the embedded phantom; a second call reuses what is finished
	mlflow run . --env-manager local --experiment-name nic -P seed=$(SEED)

test: .venv/installed  ## the fast suite
	pytest

lint: .venv/installed  ## style, types and the layers of the design
	ruff check .
	ruff format --check .
	mypy
	lint-imports

.venv/installed: requirements.txt requirements-dev.txt requirements-oracles.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	pip install --quiet --requirement requirements-dev.txt
	pip install --quiet --no-deps --requirement requirements-oracles.txt
	touch $@

clean:  ## forget the environment and everything made by the demo
	rm -rf .venv data work mlruns mlflow.db
