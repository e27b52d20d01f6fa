# Everything runs in .venv, with the versions in constraints.txt. Another interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.PHONY: help demo test lint type unit format docs constraints clean

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## diagnose the built-in problem; the last lines say where the report is
	$(BIN)/unstuck diagnose

test: lint type unit ## check everything: lint, format, types, tests

lint: .venv/installed-dev ## check the code and its format with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/installed-dev ## check the types with mypy
	$(BIN)/mypy

unit: .venv/installed-dev ## run the tests, a file at a time on two processes
	$(BIN)/pytest --numprocesses 2 --dist loadfile

format: .venv/installed-dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-dev ## write the generated tables of the documentation again
	$(BIN)/python docs/make_tables.py

constraints: .venv/installed-dev ## write constraints.txt again from what .venv holds
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip > .venv/versions
	sed 's/+.*//' .venv/versions > constraints.txt

clean: ## remove caches and builds (neither .venv nor your runs)
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	$(INSTALL) .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	@touch $@
