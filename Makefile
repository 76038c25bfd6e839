# Two commands do all the set-up: `make demo` (light install, photographs to a table and pictures) and `make test`.
PYTHON ?= python3
SHARED ?= $(wildcard ../shared)
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto

.PHONY: demo test check lint types layers clean

demo: .venv-light/installed
	.venv-light/bin/mftn predict examples/photos --format table --save-images demo
	@echo "annotated pictures: $$(ls demo/*.jpg | tr '\n' ' ')"

test: .venv/installed
	$(PYTEST) -m "not shared"

check: .venv/installed lint types layers
	$(PYTEST) $(if $(SHARED),,-m "not shared")

lint: .venv/installed
	.venv/bin/ruff check .

types: .venv/installed
	.venv/bin/mypy

layers: .venv/installed
	.venv/bin/lint-imports

.venv-light/installed: pyproject.toml
	$(PYTHON) -m venv .venv-light
	.venv-light/bin/python -m pip install --quiet --editable .
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[train,test]'
	touch $@

clean:
	rm -rf .venv .venv-light demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
