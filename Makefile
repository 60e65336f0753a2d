# The one way to set up, try, test and check expunge; CI runs the same targets (.ci/run).
# Every target sets itself up: a fresh machine needs only Python, make and a package index.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test docs figures check format clean

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

# One thread per worker: with every core busy, more threads are many times slower. And no test needs a network.
TEST_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the pinned versions

demo: $(READY) ## train, forget, audit and certify on real data, into runs/demo (ARGS="..."; ARGS=language: a language model)
	$(BIN)/expunge demo $(ARGS)

test: $(READY) ## run the fast tests on two workers (ARGS="tests/core -k digest")
	$(TEST_ENV) $(BIN)/pytest -q -n 2 --dist loadfile -m 'not slow' $(ARGS)

docs: $(READY) ## build the documentation into build/site, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

figures: $(READY) ## write new benchmark results into the tables and pictures of the documentation
	$(BIN)/python scripts/figures.py

check: $(READY) ## run the gate: format, lint, import contracts, types, changelog fragments
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/towncrier build --draft --version next >/dev/null

format: $(READY) ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what make made
	rm -rf .venv runs/demo runs/demo-language build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# pip brings torch and uv first: uv is fast for the rest, but does not find a CPU wheel of torch by itself.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -b constraints.txt -e '.[dev]'
	@installed="$$($(BIN)/uv pip freeze -q --python $(BIN)/python)"; \
	if grep -E '^(nvidia-|triton|torchvision)' <<< "$$installed"; then \
	  echo 'A CUDA build of torch arrived. Start again from the CPU index:' >&2; \
	  echo '  make clean; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup' >&2; \
	  exit 1; \
	fi
	touch $@
