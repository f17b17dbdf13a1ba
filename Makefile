# make            print the goals
# make test PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu'
#                 pass options to pip, here for the CPU build of PyTorch
# make demo PYTHON=python3.12

PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
PIP_FLAGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS)
DEMO := runs/quickstart

.PHONY: help demo test lint types layers docs docs-check clean

help: ## print the goals
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: $(VENV)/train.installed ## distil a teacher on MovieLens 100k and write a report
	$(BIN)/distilrec run recipes/quickstart.yaml --out $(DEMO)
	@echo "The report is in $(DEMO)/report.html"

test: lint types layers docs-check ## run every check, the tests last
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS)

lint: $(VENV)/dev.installed ## Ruff, style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.installed ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/dev.installed ## import-linter: imports point downward
	$(BIN)/lint-imports

docs: $(VENV)/dev.installed ## write the measured numbers into README and docs
	$(BIN)/python scripts/update_docs.py

docs-check: $(VENV)/dev.installed ## fail where README or docs differ from the measured numbers
	$(BIN)/python scripts/update_docs.py --check

clean: ## delete the environment and the caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"DistilRec needs Python 3.11 or later, and $(PYTHON) is older: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# The stamps say what is installed; `dev` holds all of `train`.
$(VENV)/train.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[train]'
	@touch $@

$(VENV)/dev.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/train.installed $@
