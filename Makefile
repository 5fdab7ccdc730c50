# What a person runs. Each target makes the environment it needs by itself.

PYTHON ?= python3
PORT ?= 5000
FUZZ_SECONDS ?= 60
SOAK_STORES ?= redis postgresql
SOAK_SECONDS ?= 20
SOAK_BROWSERS ?= 50
SOAK_REQUESTS ?= 360000
VENV := .venv
BIN := $(VENV)/bin
export SESSION_STORE ?= cookie

.PHONY: demo demo-buffalo test check bench fuzz mutants soak soak-million
.PHONY: lint types wheel clean

## demo: serve the example shop on http://127.0.0.1:$(PORT)
demo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.shop

## demo-buffalo: serve a Flask and a Go application that share one session
demo-buffalo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.with_buffalo

## test: run all tests
test: $(VENV)/dev.stamp
	SESSION_STORE= $(BIN)/python -m pytest

## check: lint, types, tests, fuzzing, a soak, and the wheel in a clean environment
check: lint types test fuzz soak wheel

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

wheel: $(VENV)/dev.stamp
	rm -rf dist build/wheel
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet dist/*.whl
	cd build && wheel/bin/python -c "import flask_buffalo_session as p; print('installed:', p.__file__)"

## bench: compare the cost with others' sessions; rewrites docs/performance.md
bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks

## mutants: change the heart of it in small ways, and see that the tests notice
mutants: $(VENV)/mutants.stamp
	SESSION_STORE= $(BIN)/python -m tests.mutation.check $(MUTANTS)

## fuzz: look for inputs that do harm, for $(FUZZ_SECONDS) seconds
fuzz: $(VENV)/fuzz.stamp
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

## soak: restart the stores and kill workers while browsers use the shop
soak: SOAK_SESSIONS ?= 20000
soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.soak chaos --seconds $(SOAK_SECONDS) \
		--browsers $(SOAK_BROWSERS) --sessions $(SOAK_SESSIONS) \
		$(if $(SOAK_SEED),--seed $(SOAK_SEED)) $(SOAK_STORES)

## soak-million: serve requests to a million sessions; is the workers' memory flat?
soak-million: SOAK_SESSIONS ?= 1000000
soak-million: $(VENV)/dev.stamp
	$(BIN)/python -m tests.soak million --sessions $(SOAK_SESSIONS) \
		--requests $(SOAK_REQUESTS) \
		$(if $(SOAK_SEED),--seed $(SOAK_SEED)) $(SOAK_STORES)

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[all]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/bench.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev,bench]'
	touch $@

$(VENV)/fuzz.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	touch $@

$(VENV)/mutants.stamp: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[mutants]'
	touch $@
