# Everything runs in .venv, which is made on first use. PYTHON chooses its interpreter. ARGS is passed to the target's command:
#     make forget ARGS="-P classes=7"     make test ARGS="-k fisher"     make ui ARGS="--port 8080"

PYTHON ?= python3
ARGS ?=
VENV := .venv
# An experiment that the environment names is used; MLflow refuses two.
INTO := $(if $(strip $(MLFLOW_EXPERIMENT_ID)$(MLFLOW_EXPERIMENT_NAME)),,--experiment-name sa-mlops)
STORE := $(or $(MLFLOW_TRACKING_URI),sqlite:///mlflow.db)

export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export VIRTUAL_ENV := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)

# Empty is unset.
$(foreach name,MLFLOW_EXPERIMENT_ID MLFLOW_EXPERIMENT_NAME MLFLOW_RUN_ID,$(if $(strip $($(name))),,$(eval unexport $(name))))

# By its path: a program of this name elsewhere on PATH is never run in its place.
RUN := "$(VENV)/bin/python" -m

# The tests run in several processes with one thread each.
test suite: export OMP_NUM_THREADS := 1
test suite: export MKL_NUM_THREADS := 1
test suite: export OPENBLAS_NUM_THREADS := 1

# Nothing here uses MLflow's jobs, whose runner and consumers take eight processes of 240 MB each.
ui: export MLFLOW_SERVER_ENABLE_JOB_EXECUTION ?= false

# The tests make their own stores.
forget tune tui: export MLFLOW_TRACKING_URI := $(STORE)

.DEFAULT_GOAL := help
.PHONY: help forget test suite campaign lint audit tui ui server tune bench clean runtime dev

help: ## list the targets
	@echo "make TARGET [ARGS=\"...\"]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

forget: runtime ## train on MNIST, forget the class 1, register every version, print the table before and after
	$(RUN) mlflow run . -e forget --env-manager local $(INTO) $(ARGS)
	@echo "Look at it: 'make ui' (MLflow in the browser), 'make tui' (terminal), '$(VENV)/bin/sa-mlops lineage'"

# Side by side: the type checker is one process, and takes a minute.
test: dev ## check style and types, and run the test suite
	@$(MAKE) --no-print-directory -j 2 lint suite

suite: dev
	$(RUN) pytest -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder $(ARGS)

# Figures go to build/, those of the pages to docs/ only by hand.
campaign: dev ## nightly: 100 faults, 30 minutes of soak, 32 runs at once, 1,000 examples or more for every parser, a row of every method; hours
	mkdir -p build
	"$(VENV)/bin/python" scripts/faults.py --count 100 --out build/faults.json
	"$(VENV)/bin/python" scripts/soak.py --minutes 30 --out build/soak.json
	"$(VENV)/bin/python" scripts/load.py --out build/load.json
	"$(VENV)/bin/python" scripts/rows.py --out build/rows.json
	$(RUN) pytest --hypothesis-profile campaign tests/security tests/registry/test_recorded.py $(ARGS)

lint: dev ## check style, types, import contracts and generated files
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	"$(VENV)/bin/lint-imports" --no-logo
	"$(VENV)/bin/python" scripts/pins.py --check
	"$(VENV)/bin/python" scripts/mlproject.py --check
	"$(VENV)/bin/python" scripts/pages.py --check

# In a separate environment, so that pip-audit does not affect the result. A package that cannot be looked up is a failure.
audit: ## compare the pinned packages with PyPI's list of known vulnerabilities; needs the network
	$(PYTHON) -m venv "$(VENV)-audit"
	"$(VENV)-audit/bin/python" -m pip install -qq --progress-bar off pip-audit
	"$(VENV)-audit/bin/python" -m pip_audit --strict --disable-pip --no-deps -r requirements.txt $(ARGS)

tui: runtime ## browse, launch and compare versions in the terminal
	@$(RUN) tui $(ARGS)

ui: runtime ## MLflow in the browser, this machine only: http://127.0.0.1:5000
	$(RUN) mlflow server --host 127.0.0.1 --backend-store-uri "$(STORE)" $(ARGS)

server: runtime ## MLflow server on its own PostgreSQL, this machine only (docs/server.md)
	@scripts/server.sh $(ARGS)

tune: runtime ## tune hyperparameters for more forgetting and less damage to retained classes
	$(RUN) mlflow run . -e tune --env-manager local $(INTO) $(ARGS)

bench: runtime ## time the project beside the reference recipe
	$(RUN) benchmarks $(ARGS)

clean: ## delete caches and build products; keep .venv, data and all runs
	rm -rf "$(VENV)-audit" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis snapshot_report.html
	find . -path "./$(VENV)" -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: complete, for this folder, and made by one make at a time.
runtime:
	@PYTHON="$(PYTHON)" scripts/environment.sh "$(VENV)" requirements.txt

dev:
	@PYTHON="$(PYTHON)" scripts/environment.sh "$(VENV)" requirements-dev.txt
