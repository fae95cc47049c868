# Every target sets up by itself what it needs. Asked for: make, and Python 3.12, 3.13 or 3.14.
#
#   make test PYTHON=/path/to/python3        that interpreter for a new .venv
#   make test PYTEST_ARGS="-k allocate -x"   in place of the two parallel workers

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
PYTEST_ARGS ?= -n 2 --dist loadscope
PYTEST := MPLBACKEND=Agg $(PY) -m pytest
TESTED_EXTRAS := dask,numpyro,parquet,polars,tensorboard
SUITABLE := (3, 12) <= sys.version_info[:2] < (3, 15)
# Real run tables, if they lie beside the checkout: what needs them is left out where they do not.
export BAYESCALE_DATA ?= $(wildcard $(abspath ../shared/data))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test slow lint notebooks bench gallery docs docs-check clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime ## fit the built-in runs and forecast from them
	@$(VENV)/bin/bayescale demo

test: $(VENV)/.test ## tests and doctests, without the slow ones
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

slow: $(VENV)/.test ## the slow tests alone
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(VENV)/.lint ## ruff check, ruff format --check, mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

notebooks: $(VENV)/.test ## execute every notebook into build/notebooks
	@set -- notebooks/*.ipynb; \
	if [ ! -e "$$1" ]; then echo "notebooks/ holds no notebook"; exit 0; fi; \
	$(PY) -m nbconvert --to notebook --execute --ExecutePreprocessor.timeout=600 \
	    --output-dir build/notebooks "$$@"

gallery: $(VENV)/.test ## every figure as a PNG, with a page, in docs/_build/gallery
	MPLBACKEND=Agg $(PY) docs/gallery.py

docs: $(VENV)/.docs ## the site, with warnings as errors, in docs/_build/html
	$(PY) -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	$(PY) .ci/check_links.py docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.bench ## run every benchmarks/*.py
	@set -e; for script in benchmarks/[!_]*.py; do \
	    if [ ! -e "$$script" ]; then echo "benchmarks/ holds no script"; exit 0; fi; \
	    echo "$$script"; $(PY) "$$script"; \
	done

docs-check: $(VENV)/.test ## links and files that the documents name; doctests are part of make test
	$(PY) .ci/check_links.py

clean: ## remove .venv, builds and caches
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up. A stamp in .venv says what was installed there; it is made again when pyproject.toml or
# constraints.txt is newer, and .venv from scratch when it was moved or its interpreter is gone.

STALE := $(shell [ ! -e $(VENV) ] || { [ "$$(cat $(VENV)/.where 2>&1)" = "$(CURDIR)" ] \
    && $(PY) -c 'import sys; sys.exit(not $(SUITABLE))' 2>/dev/null; } || echo FORCE)

$(VENV)/.runtime: pyproject.toml constraints.txt $(STALE) | $(VENV)/.where
	$(call install,runtime,-e .)

$(VENV)/.test: pyproject.toml constraints.txt $(STALE) | $(VENV)/.where
	$(call install,test,-e ".[$(TESTED_EXTRAS)]" --group test)
	@touch $(VENV)/.runtime

$(VENV)/.lint: pyproject.toml constraints.txt $(STALE) | $(VENV)/.where
	$(call install,lint,-e . --group lint)
	@touch $(VENV)/.runtime

$(VENV)/.docs: pyproject.toml constraints.txt $(STALE) | $(VENV)/.where
	$(call install,documentation,-e . --group docs)
	@touch $(VENV)/.runtime

$(VENV)/.bench: pyproject.toml constraints.txt $(STALE) | $(VENV)/.where
	$(call install,benchmark,-e ".[benchmarks]")
	@touch $(VENV)/.runtime

define install
@echo "bayescale: installing the $(1) dependencies into $(VENV) (the first time takes some minutes)"
@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt $(2)
@touch $@
endef

# pyenv's shims fail where .python-version names a version that is not installed: the folders of
# pyenv and the system are looked into as well. --group needs pip 25.1.
$(VENV)/.where: $(STALE)
	@tried=; \
	for name in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python \
	    /usr/local/bin/python3 /usr/bin/python3 /opt/homebrew/bin/python3 \
	    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.14*/bin/python3 \
	    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin/python3 \
	    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin/python3); do \
	    path=$$(command -v "$$name") || continue; \
	    version=$$("$$path" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) \
	        || version="does not run"; \
	    if "$$path" -c 'import sys; sys.exit(not $(SUITABLE))' 2>/dev/null; then \
	        if "$$path" -c 'import ensurepip, venv' 2>/dev/null; then chosen=$$path; break; fi; \
	        version="$$version without venv: apt install python3-venv"; \
	    fi; \
	    case "$$tried" in *"$$path ("*) ;; *) tried="$$tried$${tried:+, }$$path ($$version)" ;; esac; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "bayescale needs Python 3.12, 3.13 or 3.14; found $${tried:-none}." \
	        "Install one, or name one: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "bayescale: making $(VENV) with $$chosen ($$version)"; \
	"$$chosen" -m venv --clear $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check "pip>=25.1"
	@printf '%s\n' "$(CURDIR)" > $@
