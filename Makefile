# `make` alone lists the commands. All but the benchmarks run in .venv, which holds exactly what requirements.lock pins.

PYTHON ?= python3
BUDGET ?= cpu
SEED ?= $(shell date +%Y%m%d)
CHAPTERS ?= chapters
# The address of another package index, asked for torch alone: PyTorch's "Get started" page shows the CPU one.
TORCH_INDEX ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book test nbval versions noise chapters lesson fold lab plain clean-outputs bench mutants address lock \
    install clean

PY := .venv/bin/python
PIP := -m pip --disable-pip-version-check --retries 2
STAMP := .venv/.installed
PEERS := diffusers==0.42.1 nflows==0.14 pythae==0.1.2 zuko==1.6.0
PYTEST := $(PY) -m pytest -n logical --maxprocesses 4
TORCH := $(shell grep '^torch==' requirements.lock)

help:
	@sed -nE 's/^## ?//p' Makefile

## make book               build the book and say which page to open
book: $(STAMP)
	$(PY) book/run.py --pages
	@$(PY) book/plain.py _build/html/plain
	@echo "Open $(CURDIR)/_build/html/index.html"

## make test               the unit tests, the book's tests, and every chapter against its committed outputs
test: $(STAMP)
	$(PYTEST) --dist worksteal tests
	@$(MAKE) --no-print-directory nbval

## make nbval              only the chapters; CHAPTERS=chapters/09_variational_autoencoders.ipynb for one
nbval: $(STAMP)
	$(PYTEST) --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=300 \
	    --nbval-sanitize-with=tests/nbval_sanitize.cfg $(CHAPTERS)

## make versions WITH=oldest   `make test` with the oldest versions that pyproject.toml allows, the newest, or colab's
versions:
	@$(PYTHON) tests/versions.py $(WITH) > /dev/null
	rm -rf .venv-versions
	$(PYTHON) -m venv .venv-versions
	.venv-versions/bin/python $(PIP) install -q -e $(EXTRAS) $$($(PYTHON) tests/versions.py $(WITH)) \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	cp requirements.lock .venv-versions/.installed
	$(MAKE) --no-print-directory test PY=.venv-versions/bin/python STAMP=.venv-versions/.installed

## make noise SEED=0       chapters as another machine might round them: they must print the same; CHAPTERS=… for some
noise:
	@DGM_NOISE=$(SEED) $(MAKE) --no-print-directory nbval

## make lab                JupyterLab on the chapters
lab: $(STAMP)
	$(PY) book/lab.py

## make plain              the chapters without MyST, for Colab, GitHub and VS Code, in _build/plain
plain: $(STAMP)
	$(PY) book/plain.py

## make clean-outputs      undo what reading and running left in the chapters; keep what was edited
clean-outputs:
	@$(PYTHON) book/clean.py

## make chapters           run every chapter again and keep its outputs; BUDGET=cpu (the default) or gpu
chapters: $(STAMP)
	$(PY) book/run.py --all --budget $(BUDGET)

## make lesson             how long each chapter is and what it holds; `python book/lesson.py 09` for one
lesson: $(STAMP)
	@$(PY) book/lesson.py

## make fold               mark in the chapters what folds in JupyterLab and Colab, as their tags say
fold: $(STAMP)
	@$(PY) book/lesson.py --fold

## make bench              dgmlib beside its peers: same work, equal outputs, ratio of times; FAMILY=vae for one family
bench: benchmarks/$(STAMP)
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 benchmarks/$(PY) benchmarks/run.py $(FAMILY)

## make mutants            random faults in dgmlib that the unit tests must notice; SEED=… repeats a draw
mutants: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) tests/mutants.py --seed $(SEED)

## make address URL=…      set the repository's address in every chapter and in _config.yml
address:
	@$(PYTHON) book/address.py '$(URL)'

## make lock               pin the newest versions that pyproject.toml allows, and those of the benchmarks' peers
lock:
	$(call pin,requirements.lock,$(TORCH) $(EXTRAS))
	$(call pin,benchmarks/requirements.lock,-c requirements.lock . $(PEERS))

## make clean              remove everything the commands above made, the environment included
clean:
	rm -rf _build .venv .venv-lock .venv-versions benchmarks/.venv build dgmlib.egg-info .pytest_cache .ruff_cache

# The stamp is a copy of the lock and is written last: a half-built environment, or one of another lock, is built anew.
$(STAMP): requirements.lock
benchmarks/$(STAMP): benchmarks/requirements.lock
$(STAMP) benchmarks/$(STAMP):
	@if cmp -s $< $@; then touch $@; else $(MAKE) --no-print-directory install FOLDER=$(filter-out ./,$(dir $<)); fi

install:
	@command -v $(PYTHON) > /dev/null || \
	    { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$$($(PYTHON) -V) is too old: the course needs 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	    { echo "$$($(PYTHON) -V) has no venv module: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	rm -rf $(FOLDER).venv
	$(PYTHON) -m venv $(FOLDER).venv
	@$(call fetch,--no-deps $(TORCH) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)))
	@$(call fetch,-r $(FOLDER)requirements.lock)
	@$(call fetch,--no-deps --no-build-isolation -e .)
	@cp $(FOLDER)requirements.lock $(FOLDER)$(STAMP)

# pip, quiet, and one sentence that names the package when it fails.
fetch = echo "pip install $(1)"; \
    $(FOLDER)$(PY) $(PIP) install -q $(1) 2> $(FOLDER).venv/pip.log || \
    { grep -v 'WARNING: Retrying' $(FOLDER).venv/pip.log >&2 || true; \
      echo "pip could not install $$(sed -nE 's/.*No matching distribution found for ([^ ]+).*/\1/p' $(FOLDER).venv/pip.log | head -n 1 | grep . || echo "$(1)"): is this machine on the network?" >&2; exit 1; }

# $(1) becomes the freeze of a fresh environment into which pip has installed $(2); its first comment lines stay.
EXTRAS := './[book,test]'
define pin
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP) install -q $(2)
	{ sed -n '/^#/p' $(1); .venv-lock/bin/python $(PIP) freeze --all \
	    | sed -E 's/^(torch==[^+]*)\+.*/\1/' \
	    | grep -v -i -E '^(dgmlib|pip|triton|nvidia-.*|cuda-.*)( @|==)' | LC_ALL=C sort -f; } > .venv-lock/requirements.lock
	mv .venv-lock/requirements.lock $(1)
	rm -rf .venv-lock build dgmlib.egg-info
endef
