# Two commands do all the setup: `make demo` (light install; a table and annotated images from photographs) and `make test`.
PYTHON ?= python3
SHARED ?= $(wildcard ../shared)
COVERAGE ?=
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto $(COVERAGE)

.PHONY: demo test check lint types layers docs dist clean

demo: .venv-light/installed
	.venv-light/bin/mftn predict examples/photos --format table --save-images demo --overwrite
	@echo "annotated images: $$(ls demo/*.jpg | tr '\n' ' ')"

test: .venv/installed
	$(PYTEST) -m "not shared"

check: .venv/installed lint types layers
	$(PYTEST) $(if $(SHARED),,-m "not shared")

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/installed
	.venv/bin/mypy

layers: .venv/installed
	.venv/bin/lint-imports

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build
	@echo "open it: .venv/bin/python -m http.server --directory build/site"

# Tests the wheel as a new user would: in a separate environment, from another folder, on a copy of the photographs.
dist: .venv/installed
	rm -rf dist build/dist
	.venv/bin/python -m build --no-isolation --outdir dist
	.venv/bin/twine check --strict dist/*
	.venv/bin/python tools/check_dist.py dist
	$(PYTHON) -m venv build/dist/env
	build/dist/env/bin/python -m pip install --quiet dist/*.whl
	cp -r examples/photos build/dist/photos
	cd build/dist && env -u PYTHONPATH env/bin/mftn --version
	cd build/dist && env -u PYTHONPATH env/bin/mftn predict photos --format table --save-images annotated
	test "$$(ls build/dist/annotated | wc -l)" = "$$(ls examples/photos | wc -l)"

.venv-light/installed: pyproject.toml
	$(PYTHON) -m venv .venv-light
	.venv-light/bin/python -m pip install --quiet --editable .
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[train,test,docs,dev]'
	touch $@

clean:
	rm -rf .venv .venv-light build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
