# make run    set up and analyse a real experiment (LaLonde), everything embedded
# make test   set up and run the whole test suite
# make serve  the whole service on loopback
# make check  lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip
OUT ?= out/lalonde
N ?= 5000
SEED ?= 0

.PHONY: run serve setup setup-dev test check lint exhaustive simulate mutants crash bench lock stage clean

run: setup
	mkdir -p $(OUT)
	$(BIN)/causal example lalonde --out $(OUT)/lalonde.csv
	$(BIN)/causal analyze $(OUT)/lalonde.csv --treatment treat --outcome re78 \
	  --covariates age,educ,black,hisp,marr,nodegree,re74,re75 --randomized --discover \
	  --query "Did the training programme raise earnings in 1978?" --out $(OUT)

setup: .venv/.run
setup-dev: .venv/.dev

# Byte-code is compiled at install: a cold import of the science would otherwise take four times as long.
.venv/.run: requirements/run.lock requirements/tools.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	VIRTUAL_ENV=.venv $(UV) install --quiet --compile-bytecode --require-hashes -r requirements/run.lock
	VIRTUAL_ENV=.venv $(UV) install --quiet --compile-bytecode --no-deps --editable .
	touch $@

.venv/.dev: .venv/.run requirements/dev.lock
	VIRTUAL_ENV=.venv $(UV) install --quiet --compile-bytecode --require-hashes -r requirements/dev.lock
	touch $@

test: setup-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

serve: setup-dev
	$(BIN)/causal serve

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

exhaustive: setup-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m exhaustive

simulate: setup-dev
	$(BIN)/python -m tests.simulation --schedules $(N) --first-seed $(SEED)

mutants: setup-dev
	$(BIN)/python -m tests.simulation.mutants

crash: setup-dev
	CRASH_ROUNDS=50 $(BIN)/python -m pytest tests/test_laptop.py -k killed_at_any_moment -s

bench: setup
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	VIRTUAL_ENV=.venv-bench $(UV) install --quiet --compile-bytecode --require-hashes -r requirements/bench.lock
	VIRTUAL_ENV=.venv-bench $(UV) install --quiet --no-deps --editable .
	.venv-bench/bin/python benchmarks/jobs.py
	.venv-bench/bin/python benchmarks/speed.py

LOCK := $(UV) compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --generate-hashes pyproject.toml
lock:
	$(LOCK) --extra engine -o requirements/run.lock
	$(LOCK) --extra engine --extra methods --extra service --extra gcp --extra bigquery --extra dev -o requirements/dev.lock
	$(LOCK) --extra engine --extra methods --extra bench -o requirements/bench.lock
	$(LOCK) -c requirements/dev.lock --extra service --extra gcp -o functions/light.lock
	$(LOCK) -c requirements/dev.lock --extra engine --extra methods --extra gcp --extra bigquery -o functions/science.lock

# What a deployment uploads: a folder for each function, with the package and its lock.
stage:
	$(PYTHON) functions/stage.py build

clean:
	rm -rf .venv .venv-bench out build
