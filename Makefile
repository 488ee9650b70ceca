# Each target installs what it needs first; none asks for Docker, root or a running server.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
# named by the checksum of what is installed: nothing to do while it is there
INSTALLED := $(VENV)/.installed-$(shell cat requirements-dev.txt requirements-openvino.txt | cksum | tr ' ' '-')
# torch stays out of the service's environment
CONVERT_VENV := .venv-convert
CONVERT_PY := $(CONVERT_VENV)/bin/python
CONVERT_INSTALLED := $(CONVERT_VENV)/.installed-$(shell cat requirements-dev.txt requirements-convert.txt | cksum | tr ' ' '-')
# nor does what makes a site of the pages stand in everybody's way
DOCS_VENV := .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed-$(shell cat requirements-docs.txt | cksum | tr ' ' '-')
ARGS ?=
# the one command that needs torch runs where torch is
MANAGE_PY := $(if $(filter convert_adaface,$(ARGS)),$(CONVERT_PY),$(PY))

.DEFAULT_GOAL := help
.PHONY: help run demo manage test coverage test-drill study-drill test-convert convert-env fuzz check eyes bench accuracy rollout-drill faults soak two-hosts restore-drill docs sbom audit hooks format openapi snippets translations lock install

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/  make \1\t/p' Makefile | expand -t 24

run: $(INSTALLED)  ## everything, embedded, at 127.0.0.1:$PORT (8000)
	@exec $(PY) -m devstack run

demo: $(INSTALLED)  ## the whole story end to end, printed
	@exec $(PY) -m devstack demo $(ARGS)

manage: $(if $(filter convert_adaface,$(ARGS)),$(CONVERT_INSTALLED),$(INSTALLED))  ## a management command: make manage ARGS="rollout status"
	@exec $(MANAGE_PY) -m devstack manage $(ARGS)

test: $(INSTALLED)  ## the tests, on embedded PostgreSQL, Valkey and bucket
	@exec $(PY) -m pytest -n 2 --dist loadgroup -m "not drill" $(ARGS)

coverage: $(INSTALLED)  ## the tests, a third slower, then what they cover least
	@$(PY) -m pytest -n 2 --dist loadgroup -m "not drill" --cov --cov-report= $(ARGS); outcome=$$?; \
		echo "Branch coverage, the 15 least covered files:"; \
		$(PY) -m coverage report | sed -n '1,17p; /^TOTAL/p'; exit $$outcome

test-drill: $(INSTALLED)  ## the rollout drill in its shortest form, as a test
	@exec $(PY) -m pytest tests/e2e/test_drill.py $(ARGS)

study-drill: $(INSTALLED)  ## a version calibrated and measured from the panel on pictures of 40 people: a browser and a worker
	@exec $(PY) -m pytest tests/browser/test_worker.py -m drill $(ARGS)

fuzz: $(INSTALLED)  ## 100,000 damaged pictures against the decoder, 20,000 bodies against the REST door, 20,000 calls of every role: make fuzz ARGS="--seed 1"
	@$(PY) -m tests.fuzz $(ARGS)
	@$(PY) -m tests.fuzz.doors $(ARGS)
	@exec $(PY) -m tests.fuzz.calls $(ARGS)

check: $(INSTALLED)  ## lint, types, import contracts, dependencies, deployments, links, migrations, OpenAPI snapshot
	@exec $(PY) -m devstack check

eyes: $(CONVERT_INSTALLED)  ## train the networks that look at eyes and glasses anew: config/networks; over an hour
	@$(CONVERT_PY) -m devstack exec $(CONVERT_PY) -m devstack.eyes
	@exec $(CONVERT_PY) -m devstack exec $(CONVERT_PY) -m devstack.eyewear

bench: $(INSTALLED) $(CONVERT_INSTALLED)  ## how fast, as ratios of one run, about 8 minutes; --write renews docs/performance.md
	@$(PY) -m devstack bench $(ARGS)
	@echo && exec $(CONVERT_PY) -m ml_models.conversion.bench $(filter --json,$(ARGS))

rollout-drill: $(INSTALLED)  ## a rollout under traffic, everything killed once, its pace: about half an hour
	@exec $(PY) -m devstack.drill $(ARGS)

faults: $(INSTALLED)  ## nine faults, three times each, under traffic: 0 wrong decisions, 0 lost enrolments, how soon it is back
	@exec $(PY) -m devstack.drill --only faults --references 150 $(ARGS)

accuracy: $(INSTALLED)  ## measure the fitted versions on the development sets: their reports and docs/accuracy.md; one: ARGS="config/ensembles/v10.yaml"
	@exec $(PY) -m devstack exec $(PY) -m devstack.accuracy $(ARGS)

soak: $(INSTALLED)  ## an hour at half capacity: memory, connections, threads and files do not grow
	@exec $(PY) -m devstack.drill --only soak --references 300 $(ARGS)

two-hosts: $(INSTALLED)  ## two hosts, one of them cut off for 30 s in the middle of a rollout; needs root, a quarter of an hour
	@# now: the networks of the drill reach no registry
	@$(PY) -m devstack manage fetch_demo_pack > /dev/null
	@exec $(PY) -m devstack.drill --only hosts --references 2000 $(ARGS)

restore-drill: $(INSTALLED)  ## back up, destroy, restore, replay erasures, verify: on services of its own, about a minute
	@exec $(PY) -m devstack.restore_drill

docs: $(DOCS_INSTALLED)  ## the pages as a site: build/site/index.html
	@$(DOCS_VENV)/bin/python -m devstack.site
	@exec $(DOCS_VENV)/bin/zensical build --strict

sbom: $(INSTALLED)  ## what the service is made of, as CycloneDX: build/sbom.cdx.json
	@exec $(PY) -m devstack.sbom

audit: $(INSTALLED)  ## known vulnerabilities of the pinned packages, and the model files; needs PyPI's vulnerability service
	@exec $(PY) -m devstack.audit

hooks: $(INSTALLED)  ## ruff before each commit, by pre-commit
	@$(PY) -m pip install --quiet --disable-pip-version-check pre-commit==4.7.0
	@$(PY) -m pre_commit install

format: $(INSTALLED)  ## format and fix what can be fixed
	@$(PY) -m ruff check --fix-only --quiet . && $(PY) -m ruff format .

openapi: $(INSTALLED)  ## renew docs/openapi.yaml
	@exec $(PY) -m devstack manage spectacular --file docs/openapi.yaml --validate --fail-on-warn

translations: $(INSTALLED)  ## compile ml_models/locale after a text was changed
	@exec $(PY) -m devstack.translations --write

snippets:  ## type-check the TypeScript and compile the Kotlin of docs/mobile.md, with npm, and Java for Kotlin's compiler
	@mkdir -p build
	@sed -n '/^```typescript/,/^```$$/{/^```/d;p}' docs/mobile.md > build/mobile.ts
	@test -s build/mobile.ts
	@npx --yes --package typescript@5.9.3 tsc --noEmit --strict --target es2022 --lib es2022,dom build/mobile.ts
	@command -v java > /dev/null || { echo "Java is missing for the Kotlin; on Debian and Ubuntu: apt install default-jre-headless"; exit 1; }
	@sed -n '/^```kotlin/,/^```$$/{/^```/d;p}' docs/mobile.md > build/mobile.kt
	@test -s build/mobile.kt
	@npm install --silent --no-save --prefix build/kotlin kotlin-compiler@2.4.20
	@build/kotlin/node_modules/kotlin-compiler/bin/kotlinc -Werror -d build/kotlin/out \
		build/mobile.kt tests/client/okhttp.kt tests/client/json.kt

lock: $(INSTALLED)  ## recompile the pinned requirements
	@$(PY) -m pip install --quiet uv
	@set -e; for name in requirements requirements-dev requirements-docs; do \
		$(PY) -m uv pip compile --quiet --no-strip-extras --python-version 3.11 --generate-hashes --no-header $$name.in -o $$name.txt; done
	@# without what it asks for: the telemetry it would bring
	@$(PY) -m uv pip compile --quiet --no-strip-extras --universal --no-deps --python-version 3.11 --generate-hashes --no-header \
		requirements-openvino.in -o requirements-openvino.txt

install: $(INSTALLED)  ## the virtual environment

convert-env: $(CONVERT_INSTALLED)  ## the environment for convert_adaface: .venv-convert, with torch

test-convert: $(CONVERT_INSTALLED)  ## the tests that need torch, the whole way of AdaFace's file among them
	@exec $(CONVERT_PY) -m pytest -n 2 --dist loadfile tests/conversion -k "adaface or chain" $(ARGS)

$(CONVERT_INSTALLED): $(INSTALLED)
	@$(CONVERT_PY) -m pip --version > /dev/null 2>&1 || $(PY) -m venv --clear $(CONVERT_VENV)
	@echo "Installing torch and the pinned requirements into $(CONVERT_VENV) (some minutes the first time) …"
	@$(CONVERT_PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(CONVERT_PY) -m pip install --quiet --disable-pip-version-check -r requirements-convert.txt
	@rm -f $(CONVERT_VENV)/.installed-* && touch $@

$(DOCS_INSTALLED):
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.txt
	@touch $@

$(INSTALLED):
	@test -n "$(PYTHON)" || { echo "Python 3.11 is missing; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	@# with its pip: a first start that was interrupted leaves an environment without one
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python -m venv failed; on Debian and Ubuntu: apt install python3.11-venv"; rm -rf $(VENV); exit 1; }
	@echo "Installing the pinned requirements into $(VENV) (some minutes the first time) …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-openvino.txt
	@rm -f $(VENV)/.installed-* && touch $@
