# Everything a developer types. Each target makes what it needs in .venv first, once: a stamp file
# there says what is installed, and pyproject.toml being newer than the stamp installs again.
#
#   make demo            the first network: digits, trained, judged, with a report
#   make test ARGS="-k zoo"
#   make demo TORCH=torch      another torch (CUDA, nightly); TORCH= keeps the one installed

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that is new enough; PYTHON=/path/to/python chooses another.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif

# One exact version on Linux x86_64, installed first: an open range may resolve to gigabytes of CUDA
# libraries. Without a GPU, PyTorch's CPU wheels are the small ones wherever pip can reach them:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
ifeq ($(shell uname -sm),Linux x86_64)
TORCH ?= torch==2.13.0
else
TORCH ?=
endif

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PY := $(BIN)/python
# -qq leaves only pip's errors on the screen.
PIP := -m pip install -qq --disable-pip-version-check

# OpenMP threads that spin while they wait can stall a busy machine for minutes.
export OMP_WAIT_POLICY := PASSIVE
# Data sets that are not downloaded, when there is a folder of them beside the repository.
ifneq ($(wildcard ../shared/data),)
export NEURARIUM_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test bench docs lint faults fuzz clean help

demo: $(VENV)/.ready ## install, then train and judge a first network on handwritten digits
	$(BIN)/neurarium fit digits $(ARGS)

test: export OMP_NUM_THREADS = 1
test: $(VENV)/.ready-dev ## run all tests on two processes
	$(BIN)/pytest -n 2 -q $(ARGS)

lint: $(VENV)/.ready-dev ## check format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: ARGS ?= --page docs/benchmarks.md
bench: $(PEERS)/.ready ## time Neurarium against its peers, in an environment of their own
	$(PEERS)/bin/python -m benchmarks $(ARGS)

faults: $(VENV)/.ready ## kill, fill, damage and starve a training; nothing may be lost
	$(PY) benchmarks/faults.py --trials 20 $(ARGS)

fuzz: $(VENV)/.ready ## read 10,000 damaged files; each must load or be refused in one sentence
	$(PY) benchmarks/fuzz.py --files 10000 $(ARGS)

docs: $(VENV)/.ready-docs ## build the documentation site into site/
	$(PY) docs/generate.py
	$(BIN)/zensical build --strict --clean
	@echo "open site/index.html"

clean: ## remove the environments and everything generated, not runs/
	rm -rf $(VENV) $(PEERS) site build dist docs/generated .cache .*_cache .hypothesis

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Environments. `$(call install,ENVIRONMENT,WHAT)` installs WHAT without ever exchanging torch.
define install
	@echo "installing $(2) into $(1)"
	@$(1)/bin/python $(PIP) $(TORCH) $(2)
	@touch $@
endef

%/.torch:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Neurarium needs Python 3.11 or newer$(PYTHON:%=, and % is not); name another:" \
			"make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "making $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $*
	@test -z "$(TORCH)" || { echo "installing $(TORCH) (the largest part)"; $*/bin/python $(PIP) $(TORCH); }
	@touch $@

$(VENV)/.ready: pyproject.toml | $(VENV)/.torch
	$(call install,$(VENV),-e .)

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/.ready
	$(call install,$(VENV),-e '.[dev]')

$(VENV)/.ready-docs: pyproject.toml | $(VENV)/.ready
	$(call install,$(VENV),-e '.[docs]')

$(PEERS)/.ready: pyproject.toml | $(PEERS)/.torch
	$(call install,$(PEERS),-e '.[peers]')
