# Everything a newcomer or CI types. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo up test chaos check lint generate lock bench clean

PYTHON ?= python3
# Where pip is offered a CPU wheel (PIP_FIND_LINKS) this takes it; on a GPU machine it takes the CUDA build.
TORCH_SPEC ?= torch==2.13.0
# What torch's build for CUDA names.
TRITON_SPEC ?= triton==3.7.1
BIN := .venv/bin
# Two intra-op threads on a busy machine are slower than one.
export OMP_NUM_THREADS ?= 1

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## Make .venv: hashed dependencies, then torch ($TORCH_SPEC), then radii

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "radii needs Python 3.11 or newer; try: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(TORCH_SPEC)"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Triton comes with torch's CUDA builds. This one, the same version, is for the tests of what is written in it alone.
.venv/triton/ready: requirements-triton.lock | .venv/ready
	rm -rf .venv/triton
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps --target .venv/triton -r $<
	@mkdir -p .venv/triton && touch $@

demo: setup  ## Start the service, certify a real network on real data, show the result
	$(BIN)/python examples/demo.py

up: setup  ## Start the service on 127.0.0.1:8000 (settings: RADII_* variables, see docs/settings.md)
	@exec $(BIN)/radii up

test: setup .venv/triton/ready  ## Run every test, in three processes (much of it waits); hold what they cover of radii and models
	$(BIN)/python -m pytest -n 3 --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --include='radii/*' --fail-under=96
	$(BIN)/coverage report --include='models/*' --fail-under=96

chaos: setup  ## Kill, flush, double and fill at 200 random moments over 50 jobs (half an hour); print the figures
	RADII_TEST_CHAOS=long $(BIN)/python -m pytest -s -o faulthandler_timeout=7200 tests/chaos

check: lint  ## Lint, and hold migrations and generated files against the code
	$(BIN)/python docs/generate.py --check
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export RADII_DATA_DIR="$$folder" && unset RADII_DATABASE_URL && \
		$(BIN)/python -m models.bootstrap && $(BIN)/alembic check

lint: setup  ## Style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: setup  ## Write radii/operators.json and the generated files of docs anew
	$(BIN)/python docs/generate.py

lock: TORCH_CPU := $(TORCH_SPEC)+cpu
lock:  ## Resolve the locks anew (needs uv, and the CPU wheel of torch among its find-links)
	echo "$(TORCH_CPU)" > .lock-torch
	UV_FIND_LINKS="$$PIP_FIND_LINKS" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-package torch -c .lock-torch --all-extras pyproject.toml -o requirements.lock
	for image in "api --extra service --extra s3 --extra parquet" "worker --extra service --extra s3 --extra torch"; do set -- $$image; name=$$1; shift; \
		UV_FIND_LINKS="$$PIP_FIND_LINKS" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-package torch -c .lock-torch -c requirements.lock $$@ pyproject.toml -o requirements-$$name.lock; done
	rm .lock-torch
	echo '$(TRITON_SPEC) ; sys_platform == "linux"' | uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-header --no-deps - -o requirements-triton.lock

bench: setup  ## Run the benchmarks; each prints ratios against a named peer
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

clean:  ## Remove .venv and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage
