# Two commands do nearly everything: `make demo` and `make test`. Each makes .venv when it is missing or the pins changed.
PYTHON ?= python3.11
SEED ?= 0
MODEL ?= models:/nic-proliferation@champion
BIN := $(CURDIR)/.venv/bin

export PATH := $(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export PYTHONUNBUFFERED := 1
# Threads that spin while they wait make a shared machine many times slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint image clean

demo: .venv/installed  ## the whole study on the embedded phantom; a second call reuses what is finished
	mlflow run . --env-manager local -P seed=$(SEED)

test: .venv/installed  ## the fast suite, on all cores
	pytest --numprocesses auto

lint: .venv/installed  ## style, types and the layers of the design
	ruff check .
	ruff format --check .
	mypy
	lint-imports

image: .venv/installed  ## deploy/served: Dockerfile and context of a registered model, by MLflow's own generator
	rm -rf deploy/served
	mlflow models generate-dockerfile --model-uri $(MODEL) --output-directory deploy/served --env-manager local

conda.yaml: requirements.txt  ## the same pins for `mlflow run` with conda, which names its environment by this file alone
	{ printf '# Made of requirements.txt by make; a changed pin is then another environment.\n'; \
	  printf 'name: nic\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n'; \
	  sed -n "/^[^#]/s/.*/      - '&'/p" requirements.txt; } > $@

# --no-compile: Python compiles a module when it is first imported, and most never are. It halves the time.
.venv/installed: requirements.txt requirements-dev.txt requirements-oracles.txt conda.yaml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	pip install --quiet --no-compile --requirement requirements-dev.txt
	pip install --quiet --no-compile --no-deps --requirement requirements-oracles.txt
	touch $@

clean:  ## forget the environment and everything made by the demo
	rm -rf .venv data work mlruns mlflow.db
