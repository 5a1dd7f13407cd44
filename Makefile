# make help lists the targets. Everything runs in the virtual environment $(VENV), made from requirements.lock.
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?=
MODELS ?=
DEMO_OUT ?= demo_out
TEST_JOBS ?= 2
GRAPHS ?= 25
COUNT ?= 100000
MINUTES ?= 60
SEED ?=
# loadgroup: tests that share a compiled model run in one process
PYTEST_OPTIONS = -n $(TEST_JOBS) --dist loadgroup --durations=15

.PHONY: help setup demo test test-all test-weekly soak assure lint golden mutations fit-costs bench-kernels bench-mlperf bench-models bench-planning bench-ram operators sbom clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing: compilers and QEMU (apt), a virtual environment (pip)
	@scripts/setup.sh $(VENV)

demo: setup ## compile the face detector, run it on an emulated board [IMAGE=photo.jpg]
	@$(BIN)/python examples/demo.py --out $(DEMO_OUT) $(if $(IMAGE),--image "$(IMAGE)")

test: lint ## lint, then all tests but the slow ones
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow"

test-all: lint ## lint, then all tests, then five minutes of soak
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)
	@$(MAKE) --no-print-directory soak MINUTES=5

test-weekly: setup ## every plan of the fronts of random graphs on the emulated board [GRAPHS=25]
	RNNPOOL_WEEKLY_GRAPHS=$(GRAPHS) $(BIN)/python -m pytest -q tests/schedule/test_front_on_board.py

soak: setup ## random networks, damaged files and faults; counts go to runs/soak [MINUTES=60] [SEED=]
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --jobs $(TEST_JOBS) $(if $(SEED),--seed $(SEED))

mutations: setup ## change the files of every reader COUNT times, go on from earlier runs [COUNT=100000] [MINUTES=60]
	$(BIN)/python -m tests.readers.many $(COUNT) --minutes $(MINUTES)

assure: setup ## static analyzers and a bounded model checker on the C; what is not installed is skipped
	$(BIN)/python -m pytest -q -rs tests/assure

lint: setup ## style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: setup ## write the golden generated sources again, after a wanted change
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/codegen/test_golden.py

fit-costs: setup ## measure the kernels on the emulated board, fit the planner's cost model to them
	$(BIN)/python -m scripts.fit_costs

bench-kernels: setup ## count the kernels' instructions, write docs/benchmarks/kernels.json and its table
	$(BIN)/python -m scripts.bench_kernels

bench-mlperf: setup ## MLPerf Tiny's shapes beside TFLite Micro, write docs/benchmarks/mlperf.json and its table
	$(BIN)/python -m scripts.bench_mlperf

bench-models: setup ## run whole networks, estimate their time, write docs/benchmarks/models.json and its table
	$(BIN)/python -m scripts.bench_models

bench-planning: setup ## time the planner over the depth of a network
	$(BIN)/python -m scripts.bench_planning

bench-ram: setup ## run the zoo under several schedules, write docs/benchmarks/ram.json and its table [MODELS=a,b]
	$(BIN)/python -m scripts.bench_ram --models "$(MODELS)"

operators: setup ## write docs/operators.md, what each model format may hold
	$(BIN)/rnnpool-mcu supported-ops --markdown > docs/operators.md

sbom: setup ## write sbom.json, the wheel's bill of materials (CycloneDX)
	$(BIN)/python -m scripts.bill_of_materials sbom.json

clean: ## remove what was built (the virtual environment stays)
	rm -rf build dist $(DEMO_OUT) .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
