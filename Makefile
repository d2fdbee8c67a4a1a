# Everything that is done with this project from a shell. `make` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin

# Where bytecode may not be written, every process would compile all that it imports anew: seconds for each of the
# hundreds that tests start.
export PYTHONDONTWRITEBYTECODE :=

CHECKED := gateway pricing migrations benchmarks tests

# A virtual environment names its own place in its scripts, so one that was moved is made anew.
ifneq ($(shell cat .venv/.place 2>/dev/null),$(CURDIR))
.PHONY: .venv/.place
endif

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: .venv/.run-ready ## make .venv with everything that running needs

.PHONY: run
run: setup ## run Tollgate with its own Redis, Postgres and a simulated provider (ARGS="--port 9000")
	@exec $(BIN)/tollgate up $(ARGS)

.PHONY: test
test: develop ## run all tests (ARGS="tests/unit -k sse")
	@$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: check
check: develop ## format, lint, types, layers; changes nothing
	@$(BIN)/ruff format --check $(wildcard $(CHECKED))
	@$(BIN)/ruff check $(wildcard $(CHECKED))
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

.PHONY: format
format: develop ## format and repair what can be repaired
	@$(BIN)/ruff check --fix $(wildcard $(CHECKED))
	@$(BIN)/ruff format $(wildcard $(CHECKED))

.PHONY: bench
bench: develop ## CPU, latency and memory beside nginx and a plain aiohttp proxy (ARGS)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: .venv/.place ## resolve the dependencies anew into requirements/
	@tools/lock.sh

.PHONY: clean
clean: ## remove what setup and tests made; data in .tollgate stays
	rm -rf .venv build dist *.egg-info tests/node/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# ---- what the targets need; each file below marks a step that is done

.PHONY: develop
develop: setup .venv/.dev-ready tests/node/node_modules/.ready

.venv/.place:
	@tools/venv.sh
	@echo "$(CURDIR)" > $@

.venv/.run-ready: .venv/.place requirements/run.txt requirements/redis-source.txt pyproject.toml
	@tools/install.sh requirements/run.txt
	@echo "installing tollgate itself"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev-ready: .venv/.run-ready requirements/dev.txt
	@tools/install.sh requirements/dev.txt
	@touch $@

tests/node/node_modules/.ready: tests/node/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
	    echo "installing the Node SDKs that tests use"; \
	    cd tests/node && npm ci --no-audit --no-fund --loglevel error; \
	else echo "no npm here: the tests of the Node SDKs will not run"; mkdir -p tests/node/node_modules; fi
	@touch $@
