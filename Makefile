# A fresh machine with Python 3.11 or newer needs no more than `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# What PyTorch computes on, for a new .venv: cpu, or an older CUDA (make env TORCH=cu126); empty: the newest CUDA.
TORCH ?=
# Compiled modules are kept, whatever the shell says: a process starts in less than half of the time.
unexport PYTHONDONTWRITEBYTECODE
SLOW = slow and not kill and not cluster and not soak and not gpu and not dicom

.PHONY: env demo test test-all site docs kill-test cluster-test gpu-test dicom-test fuzz soak mutation audit lint chaos

env: .venv/.done

.venv/.done: constraints.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'covidmt needs Python 3.11 or newer; try: make env PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	@# editable_mode=compat: as installed; a folder experiments/ where one works must not hide ours
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		$(if $(TORCH),--torch-backend $(TORCH)) --config-setting editable_mode=compat --editable '.[dev]'
	touch $@

demo: env  # made-up data, a training, its evaluation
	$(BIN)/covidmt data demo demo-data
	$(BIN)/covidmt train experiments/demo.yaml
	$(BIN)/covidmt evaluate last
	@echo
	@echo 'The page above (report) says what the scores are worth. To see the curves and Grad-CAM pictures in MLflow:'
	@echo '  $(BIN)/covidmt ui'
	@echo 'To ask the network about films, at http://localhost:8000/:'
	@echo '  $(BIN)/covidmt serve last        (after another training: the id of the run above)'

test: env  # what is quick: functions, properties, examples
	$(BIN)/pytest -n 2

test-all: test  # and whole commands: trainings, sweeps, evaluations, broken inputs
	$(BIN)/pytest -n 2 -m '$(SLOW)'

site: env  # the documentation in site/, with its links checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

docs: site  # and whether its commands, options, files and code are right, as make test does too
	$(BIN)/pytest tests/test_docs.py tests/docs

kill-test: env  # trainings killed at many moments, on one and two processes
	$(BIN)/pytest -m kill tests/covidmt/training/test_resume.py

chaos: env  # 60 rounds of kills, full disks, vanishing mounts, sick servers, double starts (root: it mounts)
	$(BIN)/python -m tests.helpers.chaos --rounds $(or $(ROUNDS),60) --seed $(or $(SEED),0) --first $(or $(FIRST),0)

cluster-test: env  # on a SLURM started for it (apt-get install slurm-wlm munge)
	$(BIN)/pytest -m cluster tests/cluster

gpu-test: env  # on a CUDA device
	$(BIN)/pytest -m gpu tests/gpu

dicom-test: env  # every combination of what a DICOM file holds, against DCMTK (apt-get install dcmtk)
	$(BIN)/pytest -m dicom tests/datamodules/formats/test_dcmtk.py

fuzz: env  # more than 10,000 broken experiments, tables, images and checkpoints
	$(BIN)/pytest -m fuzz --hypothesis-profile=fuzz tests/test_fuzz.py

soak: env  # 200 epochs and RUNS=200 short runs: memory, open files, threads, database and starts must stay flat
	$(BIN)/pytest -m soak -s tests/covidmt/training/test_soak.py

mutation: env  # the code broken in one place at a time: do tests notice? (SEED=, PER_MODULE=, MODULES="metrics/exact.py ...")
	$(BIN)/python -m tests.helpers.mutation --seed $(or $(SEED),0) $(if $(PER_MODULE),--per-module $(PER_MODULE)) $(MODULES)

audit: env  # known holes in the pinned packages, from PyPI's advisories
	$(BIN)/uv tool run pip-audit --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off || \
		{ echo "audit failed: a table above names packages with known holes; no table: the advisories cannot be read here"; exit 1; }

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
