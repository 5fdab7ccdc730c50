# What a person runs. Each target makes the environment it needs by itself.

PYTHON ?= python3
PORT ?= 5000
JOBS ?= auto
BENCH ?=
VENV := .venv
BIN := $(VENV)/bin
PYTEST := SESSION_STORE= $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo demo-buffalo test check exhaustive lint types wheel bench clean

demo demo-buffalo: export SESSION_STORE ?= cookie

## demo: serve the example shop on http://127.0.0.1:$(PORT)
demo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.shop

## demo-buffalo: serve a Flask and a Go application that share one session
demo-buffalo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.with_buffalo

## test: run the tests, except for the exhaustive ones
test: $(VENV)/dev.stamp
	$(PYTEST) -m "not exhaustive"

## check: run everything: lint, types, all tests, fuzzing, a soak, instructions, the wheel
check: lint types exhaustive
	$(MAKE) -C tests fuzz soak instructions
	$(MAKE) wheel

## exhaustive: run all tests, and measure the coverage of the package
exhaustive: $(VENV)/dev.stamp
	$(PYTEST) --cov

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

## wheel: build the wheel, and import it in a clean environment
wheel: $(VENV)/dev.stamp
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet dist/*.whl
	cd build && wheel/bin/python -c "import flask_buffalo_session as p; print('installed:', p.__file__)"

## bench: compare the cost with other session extensions; rewrites docs/performance.md.
## BENCH="load footprint" measures only these sections.
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

# The stamp's name is that of a dependency group. Groups need pip 25.1.
$(VENV)/%.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group $* --editable '.[all]'
	touch $@
