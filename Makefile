# Everything sets itself up: each target works on a fresh machine with Python 3.11+, make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread per test process: the suite runs in as many processes as there are cores.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test check lint types contract browser bench clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

venv: $(STAMP)  ## build .venv with the offnormal command in it

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@

demo: venv  ## train on a real table, print the most anomalous rows, leave demo/model.offnormal and demo/report.html
	$(BIN)/python examples/breast_cancer.py demo/breast_cancer.csv
	$(BIN)/offnormal fit demo/breast_cancer.csv --id id --label diagnosis --train-where diagnosis=benign -o demo/model.offnormal
	$(BIN)/offnormal explain demo/model.offnormal demo/breast_cancer.csv --worst 3 --top 4
	$(BIN)/offnormal report demo/model.offnormal demo/breast_cancer.csv --label diagnosis --anomaly malignant -o demo/report.html
	@echo "Left demo/model.offnormal and demo/report.html"

lint: venv  ## style
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples

types: venv  ## static types, strict
	$(BIN)/mypy

contract: venv  ## which room may import which
	$(BIN)/lint-imports --no-cache

browser:  ## the system's Chromium, for the tests of pages, where it may be installed
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name > /dev/null && exit 0; done; \
	if command -v apt-get > /dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2> /dev/null; }; then \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo -n); install="apt-get install -qq --yes --no-install-recommends chromium"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $$root timeout 180 $$install > /dev/null 2>&1 || { $$root timeout 60 apt-get update -qq > /dev/null 2>&1; \
	  $$root timeout 180 $$install > /dev/null 2>&1; } || true; \
	fi

check: lint types contract  ## what a developer runs before a commit
	$(BIN)/python -m pytest -q -n auto -m "not slow"

test: lint types contract browser  ## everything CI runs
	$(BIN)/python -m pytest -q -n auto --dist worksteal

bench: venv  ## speed in one run; writes benchmarks/out/
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group benchmarks
	$(BIN)/python benchmarks/speed.py

clean:  ## remove what the targets made
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
