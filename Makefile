# `make run` and `make test` need Python 3.11 or newer, make and a package registry, and nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
# The newest Python that really runs and has what we need: a name on PATH may be a shim that fails.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ssl, sqlite3, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# Stamps carry a checksum of what was installed, so a second start installs nothing.
RUNTIME := $(VENV)/runtime-$(shell cksum < requirements.txt | tr -d ' ')
DEV := $(VENV)/dev-$(shell cat requirements*.txt | cksum | tr -d ' ')
# Where tools that load the settings may write.
TOOL_ENV := DEBUG=1 DATA_DIR=build/tools
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup
# Of the fault suite only the short form: the whole of it is `make test-faults`.
SHORT := not faults or faults_short
# How often the whole of it is run; the first failure ends it. What compares times runs alone; pytest gives 5 where ARGS
# leaves nothing of that.
ROUNDS ?= 1

.PHONY: help run doctor test test-sqlite test-postgresql test-faults lint format types check bench clean install install-dev

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

run: $(RUNTIME) ## start everything: web server, workers, example workflows
	@DEBUG="$${DEBUG:-1}" exec $(BIN)/python manage.py up

doctor: $(RUNTIME) ## say what is missing and how to mend it
	@DEBUG="$${DEBUG:-1}" exec $(BIN)/python manage.py doctor

test: test-sqlite test-postgresql ## all tests, on SQLite and on PostgreSQL (those that use no database: once)

test-sqlite: $(DEV) ## all tests on SQLite
	$(PYTEST) --database=sqlite -m "$(SHORT)" $(ARGS)

test-postgresql: $(DEV) ## all tests on PostgreSQL, which comes from a wheel
	$(PYTEST) --database=postgresql --ignore=tests/unit -m "not any_database and ($(SHORT))" $(ARGS)

test-faults: $(DEV) ## the whole fault suite on both: processes killed, stopped and cut off (25 minutes; ROUNDS=20)
	@for round in $$(seq $(ROUNDS)); do for database in postgresql sqlite; do \
		echo "round $$round of $(ROUNDS), $$database"; \
		$(BIN)/python -m pytest tests/faults -n 2 -m "not alone" --database=$$database $(ARGS) || exit 1; \
		$(BIN)/python -m pytest tests/faults -m alone --database=$$database $(ARGS) || [ $$? = 5 ] || exit 1; \
	done; done

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV) ## mypy, strict
	$(TOOL_ENV) $(BIN)/mypy .

check: $(DEV) ## Django's checks with production settings, and no migration missing
	DATA_DIR=build/tools DEBUG=0 SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
		DATAFLOW_ENCRYPTION_KEYS="$$($(BIN)/python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
		$(BIN)/python -W error::DeprecationWarning manage.py check --deploy --fail-level WARNING
	$(TOOL_ENV) $(BIN)/python manage.py makemigrations --check --dry-run

bench: $(DEV) ## measure everything that has a target (ARGS=--quick: only see that it works; --help lists more)
	$(BIN)/python -m bench $(ARGS)

clean: ## remove what was installed and built; data in var/ stays
	rm -rf .venv .venv-next build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(RUNTIME)
install-dev: $(DEV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found on PATH. Name one: make PYTHON=/path/to/python3.11 run" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME): | $(BIN)/python
	@echo "installing what the platform runs on (once)"
	@$(PIP) install -r requirements.txt
	@rm -f $(VENV)/runtime-*
	@touch $@

$(DEV): | $(BIN)/python
	@echo "installing what tests and checks need (once)"
	@$(PIP) install -r requirements-dev.txt
	@rm -f $(VENV)/runtime-* $(VENV)/dev-*
	@touch $(RUNTIME) $@
