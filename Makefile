# One environment, in .venv/ at the root; every target makes it first where it is missing.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo docs test test-slow test-mlflow wheel lint types format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,docs]'
	@touch $(STAMP)

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/eagleray run experiments/quickstart.yaml
	$(BIN)/eagleray evaluate experiments/quickstart.yaml --checkpoint initial
	$(BIN)/eagleray show quickstart
	$(BIN)/eagleray report quickstart --output report.html

# The documentation site, in build/site; `make docs SERVE=1` shows it at http://127.0.0.1:8000.
docs: install
	$(BIN)/python -m mkdocs $(if $(SERVE),serve,build --strict)

lint: install
	$(BIN)/ruff check platform tasks cuda_ops tests experiments
	$(BIN)/ruff format --check platform tasks cuda_ops tests experiments

types: install
	$(BIN)/mypy

test: install lint types
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m slow

# The trackers' tests with the mlflow package, which wants older versions of two others than the
# environment has: they lie in a folder of their own.
test-mlflow: install
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/mlflow --requirement tests/eagleray/track/mlflow.txt
	PYTHONPATH=build/mlflow $(BIN)/python -m pytest -m slow tests/eagleray/track

# A wheel in dist/; tests/test_packaging.py (slow) installs one into an empty environment.
wheel: install
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

format: install
	$(BIN)/ruff check --fix platform tasks cuda_ops tests experiments
	$(BIN)/ruff format platform tasks cuda_ops tests experiments

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
