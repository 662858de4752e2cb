# make demo: see it work. make test, make check: what every change must pass.
# Each target first sets up what it needs in .venv.

PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP = .venv/bin/pip install --quiet

.PHONY: demo test check clean

demo: .venv/.demo
	.venv/bin/nanoseg demo

test: .venv/.dev
	.venv/bin/python -m pytest

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/mypy

clean:
	rm -rf .venv nanoseg-demo nanoseg.egg-info .mypy_cache .pytest_cache .ruff_cache

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
