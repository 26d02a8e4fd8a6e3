# A fresh machine with Python 3.11 or newer needs no more than `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test docs kill-test cluster-test fuzz soak audit lint

env: .venv/.done

.venv/.done: constraints.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'covidmt needs Python 3.11 or newer; try: make env PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	@# editable_mode=compat: as installed; a folder experiments/ where one works must not hide ours
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		--config-setting editable_mode=compat --editable '.[dev]'
	touch $@

demo: env
	$(BIN)/covidmt data demo demo-data
	$(BIN)/covidmt train experiments/demo.yaml

test: env
	$(BIN)/pytest -n 2

docs: env  # links, commands, options and files that README and docs name
	$(BIN)/pytest tests/test_docs.py

kill-test: env  # trainings killed at many moments, on one and two processes
	$(BIN)/pytest -m kill tests/covidmt/training/test_resume.py

cluster-test: env  # on a SLURM started for it (apt-get install slurm-wlm munge)
	$(BIN)/pytest -m cluster tests/cluster

fuzz: env  # more than 10,000 broken experiments, tables, images and checkpoints
	$(BIN)/pytest -m fuzz --hypothesis-profile=fuzz tests/test_fuzz.py

soak: env  # 200 epochs: memory, open files, threads and database must stay flat
	$(BIN)/pytest -m soak -s tests/covidmt/training/test_soak.py

audit: env  # known holes in the pinned packages, from PyPI's advisories
	$(BIN)/uv tool run pip-audit --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off || \
		{ echo "audit failed: a table above names packages with known holes; no table: the advisories cannot be read here"; exit 1; }

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
