# make demo    set up, train a small LLA on generated crowds, test it, draw images
# make test    set up, with the extras, and run the tests
# make docs    build pages and API reference as a site, in site/
# make lint    set up, and run ruff and mypy
# make setup   create .venv with the versions that are tested together
# make clean   remove build leftovers and caches; keep environments and work_dirs
#
# MMCV=full    with mmcv's compiled operators (minutes, and a compiler), in .venv-full
# STACK=onedl  with the maintained fork of OpenMMLab's packages (compiles), in .venv-onedl
# STACK=numpy1 with numpy 1, in .venv-numpy1
# VENV=PATH    use this environment; one that make did not create only gets what is missing
# PYTHON=PATH  create the environment with this interpreter
# DEMO_ARGS, PYTEST_ARGS  passed on to the demo and to pytest

STACK ?=
MMCV ?=
VENV ?= .venv$(if $(STACK),-$(STACK))$(if $(MMCV),-$(MMCV))
PYTHON ?= $(shell for python in python3.11 python3.13 python3.12 python3; do \
  $$python -m venv --help >/dev/null 2>&1 && echo $$python && break; done)
DEMO_ARGS ?=
PYTEST_ARGS ?=

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -q install
PINS := requirements.txt $(foreach name,$(STACK) $(MMCV),requirements-$(name).txt)
# The pins of several files, a later one in place of an earlier one of the same package.
MERGE = awk -F '[=; ]' '/^[^\#]/ { pin[tolower($$1)] = $$0 } END { for (name in pin) print pin[name] }'

.DEFAULT_GOAL := help
.PHONY: help setup setup-extras demo test lint docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

setup: $(VENV)/.set-up
setup-extras: $(VENV)/.set-up-extras
$(VENV)/.set-up: $(PINS)
$(VENV)/.set-up-extras: requirements.txt requirements-extras.txt $(PINS)

# mmcv is compiled last, against the torch of the environment. pip installs nothing twice.
$(VENV)/.set-up $(VENV)/.set-up-extras: pyproject.toml
	@if [ -e '$(VENV)' ] && [ ! -e '$(VENV)/.pins' ]; then \
	  echo '$(VENV) is not of make: adding only what is missing'; \
	  $(PIP) -e '.[tests,tensorboard$(if $(findstring extras,$@),$(comma)export$(comma)predict$(comma)ray)]'; \
	else set -e; \
	  [ -n '$(PYTHON)' ] || { echo 'no Python with venv; on Debian: apt install python3-venv'; exit 1; }; \
	  echo 'Setting up $(VENV)'; \
	  $(PYTHON) -m venv '$(VENV)'; \
	  $(MERGE) $(filter %.txt,$^) > '$(VENV)/.pins'; \
	  grep -Ev '^(onedl-|mmcv==)' '$(VENV)/.pins' > '$(VENV)/.pins-first'; \
	  $(PIP) -r '$(VENV)/.pins-first'; \
	  MMCV_WITH_OPS=1 $(PIP) --no-build-isolation -r '$(VENV)/.pins'; \
	  $(PIP) --no-build-isolation --no-deps -e .; \
	fi
	@$(RUN) -c 'import mmdet_lla, mmdet.apis'
	@touch $@

demo: setup
	$(RUN) tools/demo.py $(DEMO_ARGS)

test: setup-extras
	$(RUN) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: .venv-docs/.set-up
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

.venv-docs/.set-up: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check -q install -r docs/requirements.txt
	@touch $@

clean:
	rm -rf build site dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

comma := ,
