# make setup | demo ARGS=… | clients | test ARGS=… | quick | nightly | lint | docs | kafka | lock
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Most containers disable bytecode; each process would then compile our files again: 15 seconds of each test run.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo clients test quick nightly lint docs kafka lock

setup: $(STAMP)

# uv installs the locked set six times faster than pip, and checks every hash. Compile bytecode here: where writing it is disabled, as in
# most containers, each start would compile torch and transformers again, two thirds of serving's start time.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.*"
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/feedbackloop demo $(ARGS)

# Clients of the chat API for tests/clients, apart from our own environment: LangChain, LlamaIndex, and those for Node;
# what compiles our client for TypeScript; and axe-core, for the tests of pages in a browser.
CLIENTS := build/clients
clients: $(CLIENTS)/complete

TYPESCRIPT := clients/typescript
$(CLIENTS)/complete: $(STAMP) tests/clients/requirements.txt tests/clients/package-lock.json $(TYPESCRIPT)/package-lock.json
	mkdir -p $(CLIENTS)
	test -x $(CLIENTS)/python/bin/python || $(BIN)/uv venv --quiet $(CLIENTS)/python
	VIRTUAL_ENV=$(CURDIR)/$(CLIENTS)/python $(BIN)/uv pip sync --quiet --require-hashes tests/clients/requirements.txt
	cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)
	npm ci --prefix $(CLIENTS) --no-audit --no-fund --loglevel=error
	mkdir -p $(CLIENTS)/typescript
	cp $(TYPESCRIPT)/package.json $(TYPESCRIPT)/package-lock.json $(CLIENTS)/typescript
	npm ci --prefix $(CLIENTS)/typescript --no-audit --no-fund --loglevel=error
	touch $@

# Two test processes, one file at a time each, in the order of tests/conftest.py; one thread each, so that they do not compete for cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Without tests that need Java, a browser, training or processes.
quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not java and not browser and not training and not processes" $(ARGS)

# An hour or more: 500 examples per property, 100,000 fuzz inputs per topic, a quarter of an hour of kills on each log.
nightly: setup
	NIGHTLY=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --inputs 100000 --timeout 7200 $(ARGS)
	$(BIN)/python -m benchmarks.chaos --minutes 15 --bus sqlite
	$(BIN)/python -m benchmarks.chaos --minutes 15 --bus kafka

# Builds the site in build/site; broken links are errors.
docs: setup
	$(BIN)/python docs/generate.py build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kafka: setup
	$(BIN)/python -m deploy.broker $(ARGS)

lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header tests/clients/requirements.in --output-file tests/clients/requirements.txt
	for folder in tests/clients $(TYPESCRIPT); do \
		(cd $$folder && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error) || exit 1; done
