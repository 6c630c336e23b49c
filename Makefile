# Every target sets up what it needs in .venv; nothing else has to be installed but Python >= 3.11
# with venv and pip, and a C++ compiler for the native core. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
DATA ?= digits
STRICT ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CPP := $(wildcard src/carousel/cells/*/*.cpp src/carousel/cells/*/*.hpp src/carousel/cells/*/*.h)
# One thread for each worker: the tests are small, and threads would fight for the cores.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)
CMAKE := $(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -S .

.DEFAULT_GOAL := help
.PHONY: bench browser clean demo examples format gallery help lint native node sanitize setup test web

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

demo: native ## train an RNN and an LSTM and show both gradients through time (DATA=digits or text)
	$(BIN)/carousel demo --data $(DATA)

# The page's tests look at it in a browser, and check it with axe-core, which npm brings.
test: native browser web/node_modules/.installed ## run the tests (WORKERS=2 for two processes)
	$(PYTEST)

lint: $(STAMP) ## check style, format, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

examples: native ## run every example
	@for example in examples/*.py; do \
		echo "== $$example"; $(BIN)/python "$$example" || exit 1; \
	done

gallery: native ## draw the pictures of docs/gallery.md and write the page, numbers included
	$(BIN)/python docs/gallery.py

# Node only builds the page; what it made is committed, so that nobody needs it to use Carousel.
web: $(STAMP) web/node_modules/.installed ## build the page (src/carousel/serve/page) from web/, and check it
	$(BIN)/python -m carousel.serve._typescript > web/src/lib/schema.ts
	cd web && npm run --silent check && npm run --silent test && npm run --silent build

web/node_modules/.installed: web/package.json web/package-lock.json | node
	cd web && npm ci --silent
	touch $@

# On Debian, root may install what is missing; everybody else is told what to do.
APT := command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

BROWSERS := chromium chromium-browser google-chrome
browser: ## find the browser that the tests look with, or install it
	@for name in $(BROWSERS); do if command -v $$name >/dev/null; then exit 0; fi; done; \
	{ $(APT) chromium; } || { echo "No browser to look at the page with: install Chromium (on Debian, as root:" \
		"apt-get install chromium), so that one of $(BROWSERS) is in PATH." >&2; exit 1; }

# As Vite asks for it.
NODE := node -e 'const [a, b] = process.versions.node.split(".").map(Number); \
	process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
node: # find Node and npm, or install them
	@if ! { command -v node && command -v npm; } >/dev/null; then $(APT) nodejs npm || true; fi
	@$(NODE) && command -v npm >/dev/null || { echo "The page is built and checked with npm and Node" \
		"20.19 or newer, or 22.12 or newer, but here is $$(node --version 2>/dev/null || echo no Node)." \
		"Install them from https://nodejs.org." >&2; exit 1; }

bench: native ## run every benchmark
	@for benchmark in benchmarks/*.py; do \
		echo "== $$benchmark"; $(BIN)/python "$$benchmark" || exit 1; \
	done

# Into the source tree, where the editable install looks for it. Only what has changed is compiled.
native: $(STAMP) ## build the C++ core (STRICT=ON: warnings are errors)
	@$(CMAKE) -B build/native $(STRICT:%=-DCAROUSEL_STRICT=%) >/dev/null
	@$(BIN)/cmake --build build/native -- --quiet
	@$(BIN)/cmake --install build/native --prefix src >/dev/null

# Of the tests that reach the core, those that do more with it than with torch or plain equations.
REACHING = $(wildcard tests/cells/test_native*.py tests/cells/test_kernels.py tests/cells/test_ops*.py tests/layers) \
	-k 'not (plain or opcheck or second_derivatives or onnx)'
# Preloaded, for a library cannot bring them along into a Python without them. Python leaks itself.
SANITIZERS = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libubsan.so)
sanitize: $(STAMP) ## run the tests that reach the C++ core on one that checks its memory accesses
	@$(CMAKE) -B build/sanitize -DCAROUSEL_SANITIZE=address,undefined >/dev/null
	@$(BIN)/cmake --build build/sanitize -- --quiet
	LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	CAROUSEL_LIBRARY=$(abspath build/sanitize/libcarousel_core.so) \
	$(PYTEST) $(REACHING)

setup: native ## create .venv with everything in it, and the C++ core

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f src/carousel/cells/native/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The backend first, so that the version that constraints.txt names builds the package.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		"Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0] + \
		"; name another one: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), PyTorch included: this takes some minutes, once."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt scikit-build-core
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e '.[data,dev,export,plots,tables]'
	touch $(STAMP)
