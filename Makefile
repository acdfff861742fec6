# Needs Python 3.11 or newer with venv, and make; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: test lint types demo bench lock schema dashboards docs clean

test: $(VENV)/dev.done  ## lint, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist worksteal

demo: $(VENV)/demo.done  ## a simulated region, the exporter and its pages, on loopback
	$(BIN)/hpc-exporter demo

bench: $(VENV)/dev.done  ## measures against baselines it starts itself; prints ratios
	$(BIN)/python -m bench

schema: $(VENV)/dev.done  ## JSON Schemas: of the configuration, for editors, and of what commands print
	$(BIN)/python -m exporter.config.jsonschema > config/exporter.schema.json
	for shape in once jobs-list audit; do $(BIN)/python -m exporter.cli.shapes $$shape > config/$$shape.schema.json; done

docs: $(VENV)/dev.done  ## the reference of the command line
	$(BIN)/python -m exporter.cli.reference > docs/cli.md

dashboards: $(VENV)/dev.done  ## grafana/provisioned from its source
	$(BIN)/python -m grafana

# Versions and hashes of everything that is installed; run after a change to pyproject.toml's dependencies.
lock: $(VENV)/dev.done
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# --no-build-isolation: the locked build backend, not the newest one of the day.
$(VENV)/dev.done: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/demo.done: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --quiet --require-hashes -r requirements/runtime.txt
	$(PIP) install --quiet --no-deps -e .
	touch $@
