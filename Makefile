# Two commands matter: `make demo` shows the story, `make test` checks everything.
# Each sets up all it needs (a virtual environment in .venv) on a machine with Python 3.11+, make and a package index.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# JOBS=2 runs two tests at once: most wait for other programs, and with one at a time a core is idle. Short ones are dealt
# out by halves, so that what a file sets up is set up once; slow ones singly, the longest first (tests/conftest.py).
SHORT  := $(if $(JOBS),-n $(JOBS) --dist worksteal)
SLOW   := $(if $(JOBS),-n $(JOBS) --dist loadgroup --no-loadscope-reorder)
READY  := $(VENV)/.ready

.PHONY: demo test test-slow check format bench compiled clean

demo: $(READY)
	$(BIN)/strangler demo

test: check
	$(PYTEST) -m "not slow" $(SHORT)

test-slow: $(READY)
	$(PYTEST) -m slow $(SLOW)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m bench

# What `STRANGLER_COMPILE=1 pip install .` installs, in a folder of its own; takes a C compiler and some minutes.
compiled: $(READY)
	rm -rf build
	STRANGLER_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/compiled .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("strangler needs Python 3.11 or newer; set PYTHON=/path/to/python3") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
