# The commands of this project. Each sets up what it needs first; the second time that is instant.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
FLEET ?= two
REAL := chaos clusters conformance fixtures load tests

.PHONY: help setup conformance test check bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make this checkout ready: Debian packages, .venv, control plane binaries
	@./setup.sh

conformance: setup ## run the conformance suite on an embedded fleet (FLEET=two), which is gone afterwards
	@.venv/bin/meshproof run conformance --fleet $(FLEET)

test: setup ## the project's own tests, with fleets (root)
	@$(PYTHON) -m pytest

check: ## format, lint, types, layers and unit tests: under a minute, no root
	@./setup.sh --without-binaries
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m pytest -m "not fleet" -q -n 2

bench: setup ## measure how long fleets and the suite take
	@$(PYTHON) -m meshproof.bench

clean: ## remove .venv and tool caches; fleets, runs and cached builds stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find $(REAL) meshproof -name __pycache__ -type d -prune -exec rm -rf {} +
