# make demo: see it work. make test, make check: what every change must pass.
# Each target first sets up what it needs in .venv.

PYTHON ?= python3
TORCH ?= torch==2.13.0
# Processes that share the tests; 0 runs them in one.
JOBS ?= 2
PIP = .venv/bin/pip install --quiet
PYTEST = .venv/bin/python -m pytest -n $(JOBS) --dist worksteal
BINDINGS = .cuda-bindings

.PHONY: cuda-bindings demo peers results test test-slow test-all page-tests page-picture cases fuzz check format docs skeletons wheel clean

demo: .venv/.demo
	.venv/bin/nanoseg demo

# The tests in a few minutes: all but the slow ones.
test: .venv/.dev cuda-bindings
	$(PYTEST)

test-slow: .venv/.dev
	$(PYTEST) -m "slow and not gpu"

# All tests, those for a GPU included where there is one.
test-all: .venv/.dev cuda-bindings
	$(PYTEST) -m "not fuzz"

# cuda-bindings 12.9 and 13, for the tests on a stub of the driver.
cuda-bindings: $(BINDINGS)/12/.done $(BINDINGS)/13/.done

$(BINDINGS)/%/.done: .venv/bin/python
	rm -rf $(@D)
	$(PIP) --no-deps --target $(@D) "cuda-bindings>=$(if $(filter 12,$*),12.9.3,13),<$(if $(filter 12,$*),13,14)" cuda-pathfinder
	touch $@

# The page of the service in headless Chromium, which .ci/system-packages.sh brings; test-slow runs them, too.
page-tests: .venv/.dev tests/service/page/node_modules
	$(PYTEST) -m "" tests/service/page

# The picture of the page in docs/service.md, of a service that runs on this machine.
page-picture: .venv/.dev tests/service/page/node_modules
	PYTHONPATH=.:benchmarks .venv/bin/python -m tests.service.page.test_real_page docs/page.jpg

tests/service/page/node_modules: tests/service/page/package-lock.json
	cd tests/service/page && npm ci
	touch $@

# The inputs of known faults, with those of ../shared/cases where it lies beside the checkout.
cases: .venv/.dev
	$(PYTEST) -m "not gpu" -v tests/cases tests/bundle/test_install.py tests/bundle/test_label_files.py tests/models/checkpoints \
		tests/sources/test_open.py tests/test_segmenter_processes.py tests/test_telemetry.py

# 40,000 changed files through every loader; FUZZ_CASES=200000 takes longer.
fuzz: .venv/.dev
	$(PYTEST) -m fuzz --tb=line tests/fuzz

# The libraries that some comparisons of benchmarks/peer.py need and nothing else: 6 GB.
peers: .venv-peers/.done

.venv-peers/.done:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet torch torchvision ultralytics segment-anything --editable ".[demo,export]"
	touch $@

# The result files of the README's figures, and its table; those that this commit has written are left as they are.
results: .venv/.dev cuda-bindings
	.venv/bin/python benchmarks/measure_results.py --resume

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/codespell

format: .venv/.dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The documentation with its API reference, in site/; a warning is an error.
docs: .venv/.docs
	.venv/bin/mkdocs build --strict

# The exported networks without their weights, which the package ships; anew where an export changed.
skeletons: .venv/.dev
	.venv/bin/python -m nanoseg.models.export.skeletons

# Every verb from the built wheel, in a new environment and an empty folder.
wheel:
	PYTHON=$(PYTHON) TORCH=$(TORCH) .ci/wheel.sh

clean:
	rm -rf .venv .venv-peers $(BINDINGS) tests/service/page/node_modules nanoseg-demo nanoseg.egg-info site .mypy_cache .pytest_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml
	$(PIP) --editable ".[demo]"
	touch $@

# torch is named alone first, so that the extras are content with the build at hand.
.venv/.dev: .venv/bin/python pyproject.toml
	$(PIP) $(TORCH)
	$(PIP) --editable ".[dev]"
	touch $@

.venv/.docs: .venv/bin/python pyproject.toml
	$(PIP) --editable ".[docs]"
	touch $@
