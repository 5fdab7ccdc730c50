# What a person runs. Each target makes the environment it needs by itself.

PYTHON ?= python3
PORT ?= 5000
JOBS ?= auto
BENCH ?=
SESSIONS ?=
TAG ?=
VENV := .venv
BIN := $(VENV)/bin
SPHINX := $(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env -q -d build/doctrees
PYTEST := SESSION_STORE= $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo demo-buffalo demo-hello demo-api demo-cart demo-login demo-gunicorn
.PHONY: test check exhaustive lint types versions wheel release bench clean
.PHONY: docs docs-links docs-serve

demo demo-buffalo: export SESSION_STORE ?= cookie

## demo: serve the example shop on http://127.0.0.1:$(PORT)
demo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.shop

## demo-buffalo: serve a Flask and a Go application that share one session
demo-buffalo: $(VENV)/demo.stamp
	PORT=$(PORT) $(BIN)/python -m examples.with_buffalo

## demo-hello demo-api demo-cart demo-login: serve one of the small examples
demo-hello demo-api demo-cart demo-login: demo-%: $(VENV)/examples.stamp
	$(BIN)/flask --app examples/$* run --debug --port $(PORT)

## demo-gunicorn: serve an application with four workers that share Redis
demo-gunicorn: $(VENV)/examples.stamp
	export SESSION_SECRET="$${SESSION_SECRET:-$$($(BIN)/flask session secret)}"; \
	cd examples/gunicorn && PORT=$(PORT) $(abspath $(BIN))/gunicorn app:app

## test: run the tests, except for the exhaustive ones
test: $(VENV)/dev.stamp
	$(PYTEST) -m "not exhaustive"

## check: run everything: lint, types, all tests, fuzzing, a soak, instructions, the site
## and the wheel
check: lint types docs exhaustive
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

## versions: run the tests on other versions of Python and of the dependencies
versions: $(VENV)/nox.stamp
	$(BIN)/nox --envdir build/nox $(if $(SESSIONS),--sessions $(SESSIONS))

## wheel: build the sdist and the wheel, check them, and use both without extras
wheel: $(VENV)/release.stamp
	rm -rf dist build/clean
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.release contents
	set -e; for file in dist/*; do \
		$(PYTHON) -m venv --clear build/clean; \
		build/clean/bin/pip install --quiet pytest $$file; \
		build/clean/bin/pytest --noconftest --import-mode=importlib tests/base; \
	done

## release: check a release as far as a machine can, and print what to do next
release: $(VENV)/release.stamp
	$(BIN)/python -m tests.release version $(TAG)
	$(MAKE) wheel
	rm -rf build/sdist
	mkdir -p build/sdist
	tar -xzf dist/*.tar.gz -C build/sdist --strip-components=1
	$(MAKE) -C build/sdist test
	@$(BIN)/python -m tests.release next

## bench: measure, and rewrite docs/reference/performance.md.
## BENCH="load footprint" measures only these sections.
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(BENCH)

## docs: build the site into build/docs; a warning is an error
docs: $(VENV)/docs.stamp
	$(SPHINX) -b html docs build/docs
	@echo "The site: build/docs/index.html"

## docs-links: check the links to other sites; needs the network
docs-links: $(VENV)/docs.stamp
	$(SPHINX) -b linkcheck docs build/docs-links

## docs-serve: build the site, and serve it on http://127.0.0.1:$(PORT)
docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)

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
