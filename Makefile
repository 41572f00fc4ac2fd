# One target per chore; `nox` runs the same chores on every Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
COVERING = $(addprefix tests/,assembly deployment format image lint pipeline recipe releases rootfs signing stores verification test_rules.py)
PYTEST = $(BIN)/python -m pytest
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Names of files are UTF-8 in images. The commands see to that by themselves in every locale; the API, which tests and
# tools call, demands it.
export PYTHONUTF8 = 1

.PHONY: help demo test coverage rest mutants fuzz sweep bench lint types docs examples release constraints clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1:/p' Makefile

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip
	$(PIP) --editable .
	touch $@

$(VENV)/developed: $(VENV)/installed
	$(PIP) --editable . --group dev
	touch $@

# What others read bills of materials with: tests ask for its opinion.
build/judges/made:
	$(PYTHON) -m venv build/judges
	build/judges/bin/python -m pip --disable-pip-version-check install --quiet lib4sbom==0.10.4
	npm install --silent --engine-strict --no-audit --no-fund --prefix build/judges \
	  @cyclonedx/cyclonedx-library@10.3.0 ajv@8 ajv-formats@3 ajv-formats-draft2019@1
	touch $@

demo: $(VENV)/installed  ## the product in a minute: two releases, their difference and cost, a forged copy
	$(BIN)/python -m tools.demo

test: $(VENV)/developed  ## run the tests
	$(PYTEST) -n auto $(ARGS)

coverage: $(VENV)/developed  ## run the tests of the core, and demand that they take its branches
	$(PYTEST) --cov -n auto $(ARGS) $(COVERING)

rest: $(VENV)/developed  ## run the tests that `make coverage` does not
	$(PYTEST) -n auto $(COVERING:%=--ignore=%) $(ARGS)

mutants: $(VENV)/developed  ## break the core in every small way, and print what no test noticed: ARGS=assembly
	$(PIP) --group mutants
	$(BIN)/python -m tools.mutants $(ARGS)

fuzz: $(VENV)/developed  ## fuzz every parser, or only TARGET, for SECONDS=60 each
	$(PIP) --group fuzz
	$(BIN)/python -m tests.fuzz.run --seconds $(or $(SECONDS),60) $(TARGET)

sweep: $(VENV)/developed  ## run the long sweeps whole
	$(PYTEST) -n auto -m sweep $(ARGS)

bench: $(VENV)/developed  ## measure against tar, zstd and mksquashfs: ROOTFS=tree SECOND=updated tree, more in ARGS
	$(BIN)/python -m benchmarks.run $(ROOTFS) $(if $(SECOND),--second $(SECOND)) $(ARGS)

lint: $(VENV)/developed  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developed  ## check types
	$(BIN)/mypy

docs: $(VENV)/developed  ## regenerate the pages of docs/reference, and the site to build/site
	$(BIN)/python -m tools.reference docs/reference
	$(BIN)/python -m zensical build --strict --clean

examples: $(VENV)/developed  ## run every example as its users would
	$(PYTEST) tests/examples $(ARGS)

release: $(VENV)/developed  ## wheel, source archive, checksums and notes of HEAD, into dist/release
	$(BIN)/python -m tools.release

constraints:  ## find the newest versions of all dependencies, and pin them
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade pip
	build/constraints/bin/python -m pip install --quiet .[awskms,azurekms,gcpkms,hashivault,mount,pkcs11,remote,sbom] --group dev --group fuzz hatchling
	head -2 constraints.txt > build/constraints.txt
	build/constraints/bin/python -m pip freeze --all --exclude otabuild --exclude setuptools >> build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove everything made by the other targets
	rm -rf $(VENV) .nox build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
