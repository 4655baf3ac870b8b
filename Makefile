# `make demo` and `make test` start from nothing: they make their own .venv, and use it again while neither
# pyproject.toml nor constraints.txt changes.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
PYTEST_ARGS ?= -n 2

.PHONY: help demo test lint types golden parity coverage conformance bench clean

help:
	@echo "make demo    compile Adam, train a network on handwritten digits with it, draw the curves"
	@echo "make test    ruff, mypy and every test"
	@echo "make golden  write the expected outputs of the tests anew; look at the difference before committing"
	@echo "make parity  write docs/parity.md: every spec against every library that has it"
	@echo "make conformance  write docs/conformance.md: every class against what torch's training code expects"
	@echo "make coverage  write docs/coverage.md: what there is for every name of torch, optax and others"
	@echo "make bench   the tables of benchmarks/"
	@echo "make clean   remove .venv and everything that was built"

demo: $(STAMP)
	$(BIN)/optdsl demo --out optdsl-demo.png

test: lint types
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

golden: $(STAMP)
	$(BIN)/python -m pytest --update-golden

coverage: $(STAMP)
	$(BIN)/python -m tests.coverage

parity: $(STAMP)
	$(BIN)/python -m tests.parity

conformance: $(STAMP)
	$(BIN)/python -m tests.conformance

bench: $(STAMP)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/checks.py
	$(BIN)/python benchmarks/cpu.py
	$(BIN)/python -m benchmarks.overhead

# torch comes by way of constraints.txt only: unpinned it brings gigabytes of CUDA along.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,torch,rates]"
	@touch $@

clean:
	rm -rf .venv build dist optdsl.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis optdsl-demo.png
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
