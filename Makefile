# Two targets matter: `make demo` sets up and runs the whole path, `make test` sets up and runs every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long faults fuzz schemas setup lint types unit format clean

demo: $(VENV)/.ready
	$(BIN)/pipeline demo

# Two at a time: most of the tests on real servers wait.
test: $(VENV)/.ready lint types
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip install --quiet --editable '.[local,dev]'
	touch $@

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar dbt/models dbt/data_tests/*.sql
	$(BIN)/yamllint --strict dbt docker-compose.yml grafana
	$(BIN)/shellcheck .ci/run deploy/*.sh deploy/*/*.sh

types: $(VENV)/.ready
	$(BIN)/mypy

# Fast tests only: pure code, no server.
unit: $(VENV)/.ready
	$(BIN)/pytest -m 'not real and not daemon'

# The property tests with many more examples: takes long.
test-long: $(VENV)/.ready
	$(BIN)/pytest --hypothesis-profile=long --timeout=0 -m 'not real and not daemon'

# Processes killed at every point and at random, services that die, a backlog: takes 50 minutes. See docs/faults.md.
KILLS ?= 300
SEED ?= 1
BACKLOG ?= 5000000
faults: $(VENV)/.ready
	$(BIN)/python -m tests.faults --kills $(KILLS) --backlog $(BACKLOG) --seed $(SEED) --docs docs/faults.md

# Hostile records through cleaning, N of them.
N ?= 1000000
fuzz: $(VENV)/.ready
	$(BIN)/python tests/fuzz/run.py --inputs $(N)

# JSON Schema of the events, for producers.
schemas: $(VENV)/.ready
	$(BIN)/python -m streams.json_schema schemas

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
