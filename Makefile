# Everything a developer runs. `make help` lists it. Needs GNU make 3.81 or newer.

SHELL := /bin/sh
BIN := .venv/bin

# A Python 3.11, 3.12 or 3.13 of your choice: `make install PYTHON=/path/to/python3.12`.
PYTHON ?=
export PYTHON

# Passed on to pytest, the demo, the benchmarks or chaos: `make test ARGS="-k ledger"`.
ARGS ?=

# Tests that run at a time. They wait more than they compute; one file stays with one process.
JOBS ?= 3

EXTRAS := worker blobs gateway monitoring telemetry sandbox build
COMPILE := uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench chaos lock

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' Makefile

install: ## Make .venv with every extra, exactly as requirements.lock says
	@sh scripts/install.sh

demo: install ## Real pictures through Redis, a Celery worker and HTTP, in under a minute
	@$(BIN)/python -m visionq.demo $(ARGS)

test: install ## Run all tests but the long ones, with a coverage report
	$(BIN)/python -m pytest --cov -m "not long" -n $(JOBS) --dist loadfile $(ARGS)

lint: install ## Check style, formatting, types and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install ## Put files into the form that `lint` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure what the documentation claims
	@sh scripts/install-peers.sh
	$(BIN)/python -m benchmarks $(ARGS)

chaos: install ## Kill processes on purpose and compare jobs, calls and books: 15 minutes
	@$(BIN)/python -m tests.chaos $(ARGS)

lock: ## Renew the locks from pyproject.toml (needs uv)
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras pyproject.toml -o requirements.lock
	$(COMPILE) $(EXTRAS:%=--extra %) -c requirements.lock pyproject.toml -o requirements-image.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra worker pyproject.toml benchmarks/peers/requirements.in -o benchmarks/peers/requirements.lock
