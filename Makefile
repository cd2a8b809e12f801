# Two commands for a fresh machine with Python 3.11 or newer: `make compare` and `make test`. The others are for those who change ringback.

# The first of these that is new enough and has venv.
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)

ARGS ?=
TOX_ARGS ?=

.PHONY: help compare test docs promises clean

help:
	@echo 'make compare [ARGS="--quick"]       compare the four backends'
	@echo 'make test [TOX_ARGS="-e lint"]      run all tests and checks'
	@echo 'make docs                           build the documentation site into build/site'
	@echo 'make promises                       list each promise and the tests that show it'
	@echo 'make clean                          remove all build and test files'

compare: .venv/ringback
	.venv/bin/ringback compare $(ARGS)

test: .venv/tox
	.venv/bin/tox $(TOX_ARGS)

docs: .venv/tox
	.venv/bin/tox -e site -- build/site
	@echo 'build/site/index.html'

promises: .venv/tox
	.venv/bin/tox -q -e promises

clean:
	rm -rf .venv .tox build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@test -n '$(PYTHON)' || { echo 'make: no Python 3.11 or newer with its venv module in PATH: install one' >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Editable, so that changed source files are measured, not an older copy.
.venv/ringback: setup.cfg pyproject.toml | .venv/bin/pip
	.venv/bin/pip install --quiet --editable '.[all]'
	@touch $@

.venv/tox: setup.cfg | .venv/bin/pip
	.venv/bin/pip install --quiet 'tox>=4.15'
	@touch $@
