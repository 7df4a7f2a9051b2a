# make demo    set up, train a small LLA on generated crowds, test it, draw pictures
# make test    set up, with the extras, and run the tests
# make docs    the pages and the API as a site, in site/
#
# MMCV=full    with mmcv's compiled operators (minutes, and a compiler), in .venv-full
# STACK=onedl  with the maintained fork of OpenMMLab's packages (compiles), in .venv-onedl
# STACK=numpy1 with numpy 1, in .venv-numpy1
# VENV=PATH    use this environment (an existing one with OpenMMLab's packages, say)
# PYTHON=PATH  make the environment with this interpreter
# DEMO_ARGS, PYTEST_ARGS  handed on to tools/demo.py and pytest

STACK ?=
MMCV ?=
VENV ?= .venv$(if $(STACK),-$(STACK))$(if $(MMCV),-$(MMCV))
PYTHON ?=
DEMO_ARGS ?=
PYTEST_ARGS ?=

BOOTSTRAP := $(or $(PYTHON),python3)
RUN := $(VENV)/bin/python
SETUP := $(BOOTSTRAP) tools/setup_env.py --venv '$(VENV)' $(addprefix --add ,$(STACK) $(MMCV)) \
  $(if $(PYTHON),--python '$(PYTHON)')

.DEFAULT_GOAL := help
.PHONY: help bootstrap setup demo test lint docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
	@echo
	@echo 'make setup, make lint, make clean (build leftovers and caches; keeps environments and work_dirs)'

bootstrap:
	@command -v $(BOOTSTRAP) >/dev/null || { \
	  echo 'Python is missing: no $(BOOTSTRAP) here. On Debian or Ubuntu:' \
	       'apt install python3 python3-venv'; exit 1; }

setup: bootstrap
	@$(SETUP)

demo: setup
	$(RUN) tools/demo.py $(DEMO_ARGS)

test: bootstrap
	@$(SETUP) --add extras
	$(RUN) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: .venv-docs/.made
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

.venv-docs/.made: docs/requirements.txt
	$(BOOTSTRAP) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --disable-pip-version-check -q -r docs/requirements.txt
	@touch $@

clean:
	rm -rf build site dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +
