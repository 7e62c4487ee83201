# Two commands are enough: make up, make test. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
PORT ?= 8400
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: help venv venv-test venv-check up test check docs bench soak clean

help:
	@echo "make up [POSTS=PATH] [PORT=8400]   install, then build and open the assistant"
	@echo "make test                          install what the tests need and run them all"
	@echo "make check                         format, lint, types, layers"
	@echo "make docs bench soak               reference pages, benchmarks, long tests"

# torch first and by its exact version: its CPU wheel, not gigabytes of another.
$(VENV)/.base: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: mynah needs Python 3.11 or newer, $(PYTHON) is older" >&2; \
	    echo "hint: make up PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt "torch==2.13.0" || \
	  { echo "error: pip could not install torch" >&2; \
	    echo "hint: check the route to the package registry, then run make again" >&2; exit 3; }
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) install -q -c constraints.txt -e ".[test,ray,ft,tensorboard]"
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install -q -c constraints.txt -e ".[check]"
	@touch $@

$(VENV)/.soak: $(VENV)/.test
	$(PIP) install -q -c constraints.txt -e ".[soak]"
	@touch $@

venv: $(VENV)/.check

up: $(VENV)/.base
	$(BIN)/mynah up $(WORKSPACE) $(if $(POSTS),--posts "$(POSTS)") --port $(PORT)

# Debian's Chromium, for the page tests; a machine that has one keeps its own.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	  { echo "error: no Chromium for the page tests" >&2; \
	    echo "hint: install the package chromium, or run the others: .venv/bin/pytest -m 'not browser'" >&2; exit 3; }
.PHONY: chromium

# Programs by others that must agree with the record: Go's sumdb packages, openssl. A machine that
# cannot have them runs all other tests, and those say what was not there.
verifiers:
	@{ command -v go && command -v openssl && test -d /usr/share/gocode/src/golang.org/x/mod/sumdb; } >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go golang-golang-x-mod-dev openssl >/dev/null; } || \
	  echo "note: Go or openssl is not there: the tests that need them are skipped" >&2
.PHONY: verifiers

# What compiled layers are tested with; a machine that has it keeps its own.
compiler:
	@{ command -v g++ && test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"; } >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ python3-dev >/dev/null; } || \
	  echo "note: no C++ compiler: the tests of compiled layers are skipped" >&2
.PHONY: compiler

# These start many processes, wait for pages, or kill at moments they draw: they have the machine
# to themselves. All other files run side by side. Both parts run, whatever the first one finds.
ALONE := tests/distributed tests/browser tests/integration/test_kill_anywhere.py \
  tests/integration/record/test_pause_chaos.py
SIDE_BY_SIDE ?= 2

# In their own order slow files come first, and quick ones fill up the end.
test: $(VENV)/.test chromium verifiers compiler
	@code=0; set -x; \
	  OMP_NUM_THREADS=1 $(BIN)/pytest -n $(SIDE_BY_SIDE) --dist loadfile --no-loadscope-reorder \
	    $(ALONE:%=--ignore=%) || code=$$?; \
	  $(BIN)/pytest $(ALONE) || code=$$?; \
	  { set +x; } 2>/dev/null; exit $$code

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.base
	$(BIN)/python docs/generate.py

# Real posts and a scratch folder; both are named in the result files without their place.
DATA ?= ../shared/data
SCRATCH ?= $(or $(TMPDIR),/tmp)/mynah-bench

bench: $(VENV)/.test
	@mkdir -p $(SCRATCH)
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/train_breakdown.py
	$(BIN)/python benchmarks/train_dpo.py
	$(BIN)/python benchmarks/rehearsal.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/takedown.py
	$(BIN)/python benchmarks/record_log.py
	$(BIN)/python benchmarks/record_overhead.py
	$(BIN)/python benchmarks/plan_search.py
	@if [ ! -d $(DATA) ]; then echo "no real posts at $(DATA): the rest is left out" >&2; exit 0; fi; \
	  set -ex; \
	  $(BIN)/python benchmarks/corpus_duplicates.py compare --data $(DATA) --folder $(SCRATCH); \
	  $(BIN)/python benchmarks/tokenizer.py; \
	  $(BIN)/python benchmarks/language.py $(DATA)/language-id; \
	  $(BIN)/python benchmarks/privacy_and_spam.py $(DATA); \
	  $(BIN)/python benchmarks/plan_predict.py; \
	  $(BIN)/python benchmarks/plan_goodput.py

soak: $(VENV)/.soak
	@mkdir -p $(SCRATCH)
	$(BIN)/python benchmarks/kill_anywhere.py
	$(BIN)/python benchmarks/train_faults.py
	$(BIN)/python benchmarks/train_peers.py compare
	OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python benchmarks/pause_chaos.py
	$(BIN)/python benchmarks/record_tamper.py
	$(BIN)/python benchmarks/fuzz_readers.py --seconds 60
	$(BIN)/python benchmarks/corpus_scale.py --data $(DATA) --folder $(SCRATCH)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
