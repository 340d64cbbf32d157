# Everything a developer runs. `make help` lists it. Needs GNU make 3.81 or newer.

SHELL := /bin/sh
BIN := .venv/bin

# A Python 3.11 or newer of your choice: `make install PYTHON=/path/to/python3.12`.
PYTHON ?=
# `pip`, to install by it although there is uv, which does not read pip's settings.
INSTALLER ?=
export PYTHON INSTALLER

# Passed on to pytest, the demo, the benchmarks or chaos: `make test ARGS="-k ledger"`.
ARGS ?=

# Tests that run at a time. They wait more than they compute; one file stays with one process.
JOBS ?= 3
BY_FILE := --dist loadfile --no-loadscope-reorder

# What `make lint` reads as English; the rest follows.
ENGLISH := README.md CONTRIBUTING.md scripts tests docs \
	deploy monitoring visionq/cli visionq/devstack visionq/ledger visionq/contract visionq/blobs visionq/images visionq/pricing visionq/data \
	visionq/dead_letters $(wildcard visionq/*.py) worker \
	producer visionq/sdk visionq/frames benchmarks

# What running needs, of a checkout or in the image: everything but the tools of developers.
RUN_EXTRAS := all build
COMPILE := uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header

# Set in many containers, and every one of a thousand processes would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install dev demo test coverage lint format bench chaos clients dist lock

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' Makefile

install: ## Make .venv with what running needs
	@sh scripts/install.sh run

dev: install ## Add what developing needs; the targets that need it do so by themselves
	@sh scripts/install.sh dev

demo: install ## Real pictures through Redis, a Celery worker and HTTP, in under a minute
	@$(BIN)/visionq demo $(ARGS)

test: dev ## Run all tests but the long ones
	$(BIN)/python -m pytest -m "not long" -n $(JOBS) $(BY_FILE) $(ARGS)

coverage: dev ## Run the tests that one process can see, which takes them twice as long, and report
	$(BIN)/python -m pytest --cov -m "not long" -n $(JOBS) $(BY_FILE) \
		tests/unit tests/contract tests/integration $(ARGS)

lint: dev ## Check style, formatting, types and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_english.py $(ENGLISH)

format: dev ## Put files into the form that `lint` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: dev ## Measure what the documentation claims
	@sh scripts/install.sh peers
	$(BIN)/python -m benchmarks $(ARGS)

chaos: dev ## Kill processes on purpose and compare jobs, calls and books: 15 minutes
	@$(BIN)/python -m tests.chaos $(ARGS)

clients: dev ## Try other people's clients of OpenAI's API against the gateway, and print a table
	@$(BIN)/python -m tests.clients $(ARGS)

dist: install ## Build dist/: a wheel that runs without a checkout, and the source
	@rm -rf dist
	@$(BIN)/python -m hatchling build

lock: ## Renew the locks from pyproject.toml, and check them (needs uv)
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras pyproject.toml -o requirements.lock
	$(COMPILE) $(RUN_EXTRAS:%=--extra %) -c requirements.lock pyproject.toml -o requirements-run.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra worker pyproject.toml benchmarks/peers/requirements.in -o benchmarks/peers/requirements.lock
	uv run --quiet --no-project scripts/check_locks.py
