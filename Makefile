# make demo    set up, train a small LLA on generated crowds, test it, draw pictures
# make test    set up and run the tests
#
# STACK=onedl  with the maintained fork of OpenMMLab's packages, in .venv-onedl
# STACK=numpy1 with numpy 1, in .venv-numpy1
# VENV=PATH    use this environment (an existing one with OpenMMLab's packages, say)
# PYTHON=PATH  make the environment with this interpreter
# DEMO_ARGS, PYTEST_ARGS  handed on to tools/demo.py and pytest

STACK ?=
VENV ?= .venv$(if $(STACK),-$(STACK))
PYTHON ?=
DEMO_ARGS ?=
PYTEST_ARGS ?=

BOOTSTRAP := $(or $(PYTHON),python3)
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
	@echo
	@echo 'make setup, make lint, make clean (build leftovers and caches; keeps environments and work_dirs)'

setup:
	@command -v $(BOOTSTRAP) >/dev/null || { \
	  echo 'Python is missing: no $(BOOTSTRAP) here. On Debian or Ubuntu:' \
	       'apt install python3 python3-venv python3-dev'; exit 1; }
	@$(BOOTSTRAP) tools/setup_env.py --venv '$(VENV)' $(if $(STACK),--stack '$(STACK)') $(if $(PYTHON),--python '$(PYTHON)')

demo: setup
	$(RUN) tools/demo.py $(DEMO_ARGS)

test: setup
	$(RUN) -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +
