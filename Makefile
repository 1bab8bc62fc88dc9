# Two commands: `make pipeline` and `make test`. Both make the environment first, in .venv.
PYTHON ?= python3
VENV := .venv
# Releases to install: constraints.txt, locks/cuda.txt or locks/macos.txt.
LOCK ?= constraints.txt
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Waiting threads soon sleep: spinning for long, the default, slows a busy machine down by up to ten times.
export GOMP_SPINCOUNT ?= 10000
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export NO_ALBUMENTATIONS_UPDATE := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: pipeline test reproduce-check lint format deps lock profile clean

pipeline: $(VENV)/installed ## everything, from photographs to a registered model and a compressed picture
	python -m stages.validate
	dvc repro
	python -m stages.first_picture

test: $(VENV)/installed lint ## every test
	pytest

reproduce-check: $(VENV)/installed ## two clones of this commit, computed from nothing, and a table of their hashes
	python -m benchmarks.reproduce

lint: $(VENV)/installed ## style, formatting, types
	ruff check .
	ruff format --check .
	mypy

format: $(VENV)/installed ## apply the style
	ruff check --fix .
	ruff format .

deps: $(VENV)/installed ## write each stage's import closure into dvc.yaml
	python tests/import_closure.py

profile: ## make profile NAME=laptop writes params.yaml from profiles/laptop.yaml
	@test -f profiles/$(NAME).yaml || { echo "no profiles/$(NAME).yaml; there are:"; ls profiles; exit 1; }
	cp profiles/$(NAME).yaml params.yaml

lock: $(VENV)/installed ## write constraints.txt from what is installed; the second line of each file in locks/ says how to make it again
	{ head -n 1 constraints.txt; pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.tmp
	mv constraints.tmp constraints.txt

$(VENV)/installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint $(LOCK) --editable '.[dev]'
	touch $@

clean: ## remove everything that can be made again, the environment too
	rm -rf $(VENV) .scratch data models history evaluation metrics anchors gate selftest report first-picture
