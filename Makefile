# Every target sets up what it needs in .venv; nothing else has to be installed but Python >= 3.11
# with venv and pip. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
DATA ?= digits

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: bench clean demo examples format help lint setup test

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

demo: $(STAMP) ## train an RNN and an LSTM and show both gradients through time (DATA=digits or text)
	$(BIN)/carousel demo --data $(DATA)

# One thread for each worker: the tests are small, and threads would fight for the cores.
test: $(STAMP) ## run the tests (WORKERS=2 for two processes)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP) ## check style, format, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

examples: $(STAMP) ## run every example
	@for example in examples/*.py; do \
		echo "== $$example"; $(BIN)/python "$$example" || exit 1; \
	done

bench: $(STAMP) ## run every benchmark
	@for benchmark in benchmarks/*.py; do \
		echo "== $$benchmark"; $(BIN)/python "$$benchmark" || exit 1; \
	done

setup: $(STAMP) ## create .venv with everything in it

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		"Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0] + \
		"; name another one: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), PyTorch included: this takes some minutes, once."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[data,dev]'
	touch $(STAMP)
