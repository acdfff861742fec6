# Needs Python 3.11 or newer with venv, and make; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Else each of the hundreds of processes of the tests compiles the whole project.
unexport PYTHONDONTWRITEBYTECODE

# A file stays with one process, which starts the servers of its tests once; files in the order of their names, in which
# those that take long do not come last.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: test coverage mutants fuzz test-slurm demo bench bench-gate chaos matrix test-newest soak dist pyz packages image lock schema dashboards docs deploy clean

test: $(VENV)/dev.done  ## lint, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

coverage: $(VENV)/dev.done  ## lines and branches of exporter/ that no test reaches, without the simulator; twice the time of the tests
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest $(PARALLEL) --timeout=3000
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage json --quiet -o build/coverage/all.json
	$(BIN)/python -c 'import json; of = json.load(open("build/coverage/all.json"))["totals"]; \
	  print("lines {percent_statements_covered:.1f} %, branches {percent_branches_covered:.1f} %".format(**of))'

PACKAGE := tracking
SAMPLE := 0
mutants: build/tools/mutmut-3.8.1/done  ## mutation testing of PACKAGE: tracking, polling, http, metrics or collector; of SAMPLE mutants, others with SEED
	$(<D)/bin/python -m tools.mutants $(PACKAGE) --sample=$(SAMPLE) $(if $(SEED),--seed=$(SEED))

MINUTES := 1
FUZZED := envelopes rows retry_after accept configuration web state_file report redaction
fuzz: build/tools/atheris-3.0.0/done  ## random input for FUZZED, all that is read from outside, each for MINUTES
	for target in $(FUZZED); do $(<D)/bin/python -m tests.fuzz $$target $(MINUTES) || exit 1; done

# Beside what the tests need, in an environment of its own: atheris is not made for every Python.
build/tools/%/done: $(VENV)/dev.done
	$(PYTHON) -m venv $(@D)
	echo "$(CURDIR)/$$(echo $(VENV)/lib/python3*/site-packages)" > $$(echo $(@D)/lib/python3*/site-packages)/project.pth
	$(@D)/bin/python -m pip install --quiet $(subst -,==,$*)
	touch $@

# As root. This machine's own, and the newest in a chroot that is built once, in /var/tmp: a minute, 600 MB, debootstrap.
SLURM_SUITES := own sid
test-slurm: $(VENV)/dev.done  ## the test against a real Slurm at length, also with the newest that Debian has
	HPC_EXPORTER_SLURM_SUITES="$(SLURM_SUITES)" $(BIN)/python -m pytest -n0 -rP --timeout=1800 tests/sources/slurm/test_real.py

PORT ?= 9851
demo: $(VENV)/demo.done  ## a simulated region, the exporter and its pages, on loopback
	@$(BIN)/hpc-exporter demo --web.listen-address=127.0.0.1:$(PORT)

bench: $(VENV)/dev.done  ## measures against baselines it starts itself; prints ratios
	$(BIN)/python -m bench

bench-gate: $(VENV)/dev.done  ## instructions of the hot paths against the committed counts; WRITE=1 renews them, BASE=HEAD^ compares with a commit
	$(BIN)/python -m bench.gate $(if $(WRITE),--write) $(if $(BASE),--base=$(BASE))

# Tests of what is imported; the others are about files, or start servers that do not depend on these versions.
MATRIX_TESTS := tests/app tests/cli tests/config tests/http tests/metrics tests/polling tests/sources tests/tracking tests/web
MATRIX := $(foreach python,3.11 3.12 3.13 3.14,$(python)-lowest $(python)-highest)
matrix: $(MATRIX:%=matrix-%)  ## the tests on each Python that can be had, with the lowest and the highest versions of libraries

# A Python that is neither there nor to be downloaded is left out.
matrix-%: $(VENV)/dev.done
	@set -e; python=$(word 1,$(subst -, ,$*)); folder=build/matrix/$*; lock=$$folder/runtime.txt; \
	if ! $(BIN)/uv venv --quiet --clear --no-project --python $$python $$folder; then echo "$@: left out"; exit 0; fi; \
	$(BIN)/uv pip compile --quiet --python $$folder --resolution $(patsubst lowest,lowest-direct,$(word 2,$(subst -, ,$*))) pyproject.toml -o $$lock; \
	$(BIN)/uv pip install --quiet --python $$folder -r $$lock --group dev; \
	$(BIN)/uv pip install --quiet --python $$folder --no-deps --no-build-isolation -e .; \
	echo "$@:"; $$folder/bin/python -m pytest -q $(PARALLEL) --timeout=3000 -p no:cacheprovider $(MATRIX_TESTS)

NEWEST := /var/tmp/hpc-exporter-newest
test-newest: $(VENV)/dev.done  ## rules, boards and metrics with the newest Prometheus, Alertmanager and VictoriaMetrics of Debian
	$(BIN)/python -m tools.newest $(NEWEST)
	PATH=$(NEWEST)/usr/bin:$$PATH $(BIN)/python -m pytest $(PARALLEL) --timeout=3000 \
	  tests/rules tests/dashboards/test_data.py tests/metrics/test_document.py tests/e2e/test_prometheus.py

schema: $(VENV)/dev.done  ## JSON Schemas: of the configuration, for editors, of what commands print, of the chart's values
	$(BIN)/python -m exporter.config.jsonschema > config/exporter.schema.json
	for shape in once jobs-list audit report; do $(BIN)/python -m exporter.cli.schemas $$shape > config/$$shape.schema.json; done
	$(BIN)/python -m deploy

docs: $(VENV)/dev.done  ## the references in docs/: of the command line, the configuration and the metrics
	$(BIN)/python -m reference

dashboards: $(VENV)/dev.done  ## grafana/provisioned from its source; links in the chart
	$(BIN)/python -m grafana
	$(BIN)/python -m deploy

SEEDS ?= 10000
chaos: $(VENV)/dev.done  ## simulations in which a seed decides on what happens, and in what order; SEED=n runs one again, BUGS=1 looks for known bugs
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed=$(SEED),--seeds=$(SEEDS)) $(if $(BUGS),--bugs)

soak: $(VENV)/dev.done  ## half an hour of trouble, and a day in virtual time: whether memory, files, threads and tasks stay as they are
	$(BIN)/python -m tools.soak --virtual
	$(BIN)/python -m tools.soak

# The wheel is made from the sdist, so that whoever has only that gets the same one. Both are the same bytes each time.
DIST := dist
# Nothing but the wheel and what it was locked to: it shows what the SBOM is to list.
INSTALLED := build/installed
SBOM = $(DIST)/hpc_exporter-$$($(BIN)/hatchling version).cdx.json
SUMS = cd $(DIST) && sha256sum hpc[_-]* > SHA256SUMS
dist: $(VENV)/dev.done  ## dist/: wheel, sdist, list of ingredients (SBOM) and checksums
	rm -rf $(INSTALLED) $(DIST)/hpc_exporter-*
	$(BIN)/hatchling build -t sdist -d $(DIST)
	$(PIP) wheel --quiet --no-deps --no-index --no-build-isolation -w $(DIST) $(DIST)/hpc_exporter-*.tar.gz
	$(BIN)/python -m venv --without-pip $(INSTALLED)
	$(PIP) --python $(INSTALLED)/bin/python install --quiet --no-compile --require-hashes -r requirements/runtime.txt
	$(PIP) --python $(INSTALLED)/bin/python install --quiet --no-compile --no-deps --no-index $(DIST)/hpc_exporter-*.whl
	$(PIP) --python $(INSTALLED)/bin/python check
	sed "s/^dynamic = \[\"version\"\]/version = \"$$($(BIN)/hatchling version)\"/" pyproject.toml > $(INSTALLED)/pyproject.toml
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)} $(BIN)/cyclonedx-py environment --output-reproducible \
	  --pyproject $(INSTALLED)/pyproject.toml -o $(SBOM) $(INSTALLED)/bin/python
	$(SUMS)

# Compiled parts are for one version of Python and one kind of machine: make it with those of the machine that it is for.
pyz: dist  ## dist/hpc-exporter.pyz: the command in one file, for the same Python and processor
	$(BIN)/python -m shiv --site-packages $(INSTALLED)/lib/python3*/site-packages --compressed --reproducible \
	  -c hpc-exporter -p "/usr/bin/env python3" -o $(DIST)/hpc-exporter.pyz
	$(SUMS)

NFPM := $(BIN)/nfpm
PACKAGED := build/packages
packages: dist  ## dist/: deb and rpm, for the same Python and processor
	rm -rf $(PACKAGED) && mkdir -p $(PACKAGED)
	cp -r $(INSTALLED)/lib/python3*/site-packages $(PACKAGED)/lib
	# Else root's commands would write it, and leave it behind.
	$(BIN)/python -m compileall -q --invalidation-mode unchecked-hash -s $(PACKAGED)/lib -p /opt/hpc-exporter/lib $(PACKAGED)/lib
	minor=$$($(BIN)/python -c 'import sys; print("{}.{}".format(*sys.version_info))') && \
	printf '%s\n' "#!/usr/bin/python$$minor -I" 'import sys' 'sys.path.insert(0, "/opt/hpc-exporter/lib")' \
	  'from exporter.__main__ import entry_point' 'entry_point()' > $(PACKAGED)/hpc-exporter && \
	for kind in deb rpm; do \
	  ARCH=$$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/') VERSION=$$($(BIN)/hatchling version | sed 's/\.dev/~dev/') \
	  PYTHON_VERSION=$$minor $(NFPM) package --config deploy/packages/nfpm.yaml --packager $$kind --target $(DIST)/; \
	done
	$(SUMS)

image:  ## hpc-exporter:local, which knows its commit
	docker build --build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude='*')" -t hpc-exporter:local .
	@echo "hpc-exporter:local is on this machine only: no image is published yet. For a cluster, tag it for a registry of yours and push it."

deploy: $(VENV)/dev.done  ## the chart's links to rules and dashboards, the schema of its values, its version
	$(BIN)/python -m deploy

# Versions and hashes of everything that is installed; run after a change to pyproject.toml's dependencies.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(VENV)/dev.done
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) --group build -o requirements/build.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# uv takes a twentieth of pip's time. It does not read pip's settings: an index of one's own is handed on, all else is left to pip.
INDEX = $${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PIP) config get global.index-url 2>/dev/null || echo https://pypi.org/simple)}}
# --no-build-isolation, here and above: the locked build backend, not the newest one of the day.
$(VENV)/dev.done: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	sed -n '/^uv==/,/[^\]$$/p' requirements/dev.txt | $(PIP) install --quiet --require-hashes -r /dev/stdin
	UV_DEFAULT_INDEX="$(INDEX)" $(BIN)/uv pip install --quiet --python $(VENV) --require-hashes -r requirements/dev.txt \
	  || $(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/demo.done: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV), once; this takes about a minute:"
	$(PIP) install --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@
