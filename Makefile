# Every verb of a working day. `make` alone lists them.
VENV ?= .venv
PY := $(VENV)/bin/python
SETTINGS := pyproject.toml constraints.txt scripts/setup

.DEFAULT_GOAL := help
.PHONY: help demo test check suite soak conformance bench wheel constraints clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo  ## install and run the main job: train Informer on electricity
	$(PY) -m forecast train model=informer

test: check suite  ## install and run lint, type check and all tests

check: $(VENV)/.test  ## lint, format, types, floors
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache

suite: $(VENV)/.test  ## the tests alone
	$(PY) -m pytest -n 2 --dist loadfile

soak: $(VENV)/.test  ## kills, full disks and damaged files by the thousand (half an hour)
	$(PY) -m pytest tests/soak
	$(PY) -m pytest -m long

conformance: $(VENV)/.test  ## sktime's own checks, all of them, on every estimator (15 minutes)
	$(PY) -m tests.conformance

bench: $(VENV)/.test  ## speed beside its floors and rivals, into benchmarks/results.json (10 minutes, a quiet machine)
	$(PY) -m benchmarks

wheel: $(VENV)/.test  ## build the wheel into dist/
	$(PY) -m build --wheel

constraints: $(VENV)/.test  ## renew constraints.txt from what is installed
	( sed -n '/^#/p' constraints.txt; $(PY) -m pip freeze --exclude-editable | sed 's/+cpu//' ) > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove the environment and all caches; runs stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(VENV)/.demo: $(SETTINGS)
	@scripts/setup $(VENV)
	@touch $@

$(VENV)/.test: $(SETTINGS)
	@scripts/setup $(VENV) test
	@touch $@ $(VENV)/.demo
