# make fit ENV=halfcheetah   the main job    make test   the tests (MARK= for the slow ones too)    make check   linters, types, import order    make bench   speed
PYTHON ?= python3
ENV ?= mountaincar
ARGS ?=
# The tests that `make test` runs, as a pytest mark expression; MARK= runs all.
MARK ?= not slow and not ray
VENV := .venv
BIN := $(VENV)/bin

.PHONY: fit test check bench clean
.DELETE_ON_ERROR:

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"lightning_pz needs Python 3.11 or newer, but $(PYTHON) is {v.major}.{v.minor}: run make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

fit: $(VENV)/.base
	$(BIN)/python -m lightning_pz.fit --env $(ENV) $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --max-worker-restart=0 -m "$(MARK)" $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev
	JAXTYPING_DISABLE=1 $(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' --benchmark-columns=median,iqr,rounds -s $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks
