# The commands of this project. Each sets up what it needs first; the second time that is instant.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
FLEET ?= two
SEEDS ?= 1 2 3 4 5
# Compiled modules lie in .venv, also where somebody has told Python to write none: they are 2 s of every command.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache
REAL := chaos clusters conformance fixtures load tests

.PHONY: help setup conformance seeds prove fidelity test kind check bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make this checkout ready: Debian packages, .venv, control plane binaries
	@./setup.sh

conformance: setup ## run the conformance suite on an embedded fleet (FLEET=two), which is gone afterwards
	@.venv/bin/meshproof run conformance --fleet $(FLEET)

seeds: setup ## healthy runs of the conformance suite, one a seed (SEEDS="1 2 3 4 5"), on one fleet (FLEET=two)
	@.venv/bin/meshproof up $(FLEET) && trap '.venv/bin/meshproof down $(FLEET)' EXIT && \
	for seed in $(SEEDS); do .venv/bin/meshproof run conformance --fleet $(FLEET) --seed $$seed || exit; done

prove: setup ## does the suite notice the defects it should? All of them, or one a class: PROVE="--rotate TEXT"
	@.venv/bin/meshproof prove $(PROVE)

fidelity: setup ## are our Cilium values right? With the real charts (CHARTS=DIR of cilium-VERSION.tgz), on real API servers
	@$(PYTHON) -m meshproof.fidelity $(CHARTS)
	@MESHPROOF_CHARTS="$(CHARTS)" $(PYTHON) -m pytest tests/test_fidelity.py -q

test: setup ## the project's own tests, with embedded fleets (root)
	@$(PYTHON) -m pytest -m "not kind"

kind: setup ## the tests that bring real kind clusters up; the first time also builds their images (root)
	@$(PYTHON) -m pytest -m kind

check: ## format, lint, types, layers and unit tests: a minute, no root
	@./setup.sh --without-binaries
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m pytest -m "not fleet and not slow" -q -n 2

bench: setup ## measure how long fleets take; BENCH="--suite --cold" adds the suite and a cold clone
	@$(PYTHON) -m meshproof.bench $(BENCH)

clean: ## remove .venv and tool caches; fleets, runs and cached builds stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find $(REAL) meshproof -name __pycache__ -type d -prune -exec rm -rf {} +
