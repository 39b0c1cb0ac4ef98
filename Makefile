# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON is only used to create the virtual environment; VENV may point elsewhere.
PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.xsixsa-installed
BIN := $(VENV)/bin
# the first free name: a demo that is there is never overwritten
DEMO_OUT ?= $(shell out=demo-run; n=1; while [ -e $$out ]; do n=$$((n+1)); out=demo-run-$$n; done; echo $$out)

# One thread per process: the tests start workers, and their results must not depend on the machine.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: help demo test test-slow lint format docs clean

help:
	@echo "make demo       simulate an observation, infer its posterior, compare with the truth (writes demo-run/)"
	@echo "make test       lint and every test not marked slow"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff check and ruff format --check"
	@echo "make docs       the documentation as a site in site/; warnings are errors"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "xsixsa needs Python 3.11 or later; name one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing xsixsa and what it needs into $(VENV) (minutes: torch is large)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

demo: $(STAMP)
	$(BIN)/xsixsa demo --out $(DEMO_OUT)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -q

test-slow: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -q -m slow

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis
