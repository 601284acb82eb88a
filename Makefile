# Everything runs in .venv, which is made on first use. PYTHON chooses its interpreter. ARGS is passed to the target's command:
#     make forget ARGS="-P classes=7"     make test ARGS="-k fisher"     make ui ARGS="--port 8080"

PYTHON ?= python3
ARGS ?=
VENV := .venv
EXPERIMENT := sa-mlops
STORE := $(or $(MLFLOW_TRACKING_URI),sqlite:///mlflow.db)

export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)

# A stamp is newer than the files it was installed from. Test tools include the runtime, so installing them sets both stamps.
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

# The tests run in several processes with one thread each.
test: export OMP_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1

# The tests make their own stores.
forget tune tui: export MLFLOW_TRACKING_URI := $(STORE)

.DEFAULT_GOAL := help
.PHONY: help forget test lint audit tui ui server tune bench clean

help: ## list the targets
	@echo "make TARGET [ARGS=\"...\"]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

forget: $(RUNTIME) ## train on MNIST, forget the class 1, register every version, print the table before and after
	mlflow run . -e forget --env-manager local --experiment-name $(EXPERIMENT) $(ARGS)
	@echo "Look at it: 'make ui' (MLflow in the browser), 'make tui' (terminal), '$(VENV)/bin/sa-mlops lineage'"

test: $(DEV) ## check style and types, then run the test suite
	@$(MAKE) --no-print-directory lint
	pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(DEV) ## check style, types, import contracts and generated files
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	python scripts/pins.py --check
	python scripts/mlproject.py --check
	python scripts/pages.py --check

# In a separate environment, so that pip-audit does not affect the result. A package that cannot be looked up is a failure.
audit: ## compare the pinned packages with PyPI's list of known vulnerabilities; needs the network
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install -qq --progress-bar off pip-audit
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --no-deps -r requirements.txt $(ARGS)

tui: $(RUNTIME) ## browse, launch and compare versions in the terminal
	@sa-tui $(ARGS)

ui: $(RUNTIME) ## MLflow in the browser, this machine only: http://127.0.0.1:5000
	mlflow server --host 127.0.0.1 --backend-store-uri "$(STORE)" $(ARGS)

server: $(RUNTIME) ## MLflow server on its own PostgreSQL, this machine only (docs/server.md)
	@scripts/server.sh $(ARGS)

tune: $(RUNTIME) ## tune hyperparameters for more forgetting and less damage to retained classes
	mlflow run . -e tune --env-manager local --experiment-name $(EXPERIMENT) $(ARGS)

bench: $(RUNTIME) ## time the project beside the reference recipe
	python -m benchmarks $(ARGS)

clean: ## delete caches and build products; keep .venv, data and all runs
	rm -rf $(VENV)-audit build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis snapshot_report.html
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) must be Python 3.11 or newer; name another one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# setuptools is pinned, so building the package needs no separate environment.
define install
	@echo "Installing into $(VENV) (a few minutes and gigabytes the first time)"
	@pip install -qq --progress-bar off -r $(1)
	@pip install -qq --progress-bar off --no-deps --no-build-isolation --editable .
endef

$(RUNTIME): requirements.txt pyproject.toml | $(VENV)/bin/pip
	$(call install,requirements.txt)
	@touch $@

$(DEV): requirements-dev.txt requirements.txt pyproject.toml | $(VENV)/bin/pip
	$(call install,requirements-dev.txt)
	@touch $(RUNTIME) $@
