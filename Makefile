# From a fresh machine with Python 3.11 or newer and make: `make benchmark`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := zoo datamodules benchmarks tests

# Worker processes of the test suite: one a core, and no more than memory is good for.
WORKERS ?= 4
# Threads of the workers would share the same cores and slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install benchmark test test-all lint types format dist clean

help:  ## list the targets
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip before 25.3 reads the build environment's constraints from the first variable, later ones from the second.
$(STAMP): pyproject.toml constraints.txt
	@[ -x $(BIN)/pip ] || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -e '.[dev]'
	@touch $@

install: $(STAMP)  ## create .venv with the tested versions

benchmark: $(STAMP)  ## run the quick suite; ARGS="--list" and the like are passed on
	$(BIN)/python -m benchmarks.run $(ARGS)

test: lint types  ## style, types and the tests but the slow ones
	$(PYTEST)

test-all: lint types  ## the slow tests too
	$(PYTEST) -m ""

lint: $(STAMP)  ## style of code and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## static types
	$(BIN)/mypy $(CODE) hubconf.py

format: $(STAMP)  ## mend style in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(STAMP)  ## build wheel and source archive into dist/
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m build

clean:  ## remove build products and caches; results and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
