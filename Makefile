# One place for set-up: .venv from the pinned, hashed lock. Everything else is Snakemake or pytest.
PYTHON ?= python3
CORES  ?= $(shell nproc 2>/dev/null || echo 2)
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := envs/requirements.lock
STAMP  := $(VENV)/.installed
RUN    := PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python -m
SNAKE  := $(RUN) snakemake
ARGS   ?=
APT_INSTALL := apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends

FUZZ   ?= 20000

.PHONY: run audit plan test frameworks-test fuzz slurm-test slurm-bench bench report ui tracking-server prune lint schema clean setup gpu lock
run: setup  ## the default study, start to report
	$(SNAKE) --cores $(CORES) --quiet rules $(ARGS)
	@echo
	@echo "Report:    $$PWD/results/report.html"
	@echo "MLflow UI: make ui   (then open http://127.0.0.1:5000)"

audit: setup  ## one update or a recorded run -> a verdict: LEAK=folder [PUBLIC=name or path] [TRUTH=file] [SAMPLES=N] [MINUTES=10]
	@PYTHONPATH=scripts $(RUN) gradleak.workflow.audit --cores $(CORES) --leak="$(LEAK)" --public="$(PUBLIC)" \
		--truth="$(TRUTH)" --samples="$(SAMPLES)" --minutes="$(MINUTES)" $(ARGS)

test: setup  ## the whole test suite, one worker per core (at most 8)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(ARGS)

frameworks-test: setup  ## the recorders in real apps of Flower and NVFlare, exports of PyTorch, in an environment of their own
	test -x .venv-frameworks/bin/python || $(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements-frameworks.lock
	$(BIN)/python -m pytest tests/frameworks $(ARGS)

fuzz: setup  ## the loaders of untrusted files under $(FUZZ) examples of each kind, anew each time
	FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/unit/artifacts/test_fuzz.py $(ARGS)

bench: setup  ## speed against the alternatives, in the same run -> results/benchmarks/engine.json, jobs.json
	$(BIN)/python tests/benchmarks/bench_engine.py $(ARGS)
	$(BIN)/python tests/benchmarks/bench_jobs.py

plan: setup  ## what a run would do: cells, trials, done, to do and why, about how many hours; ARGS="--config study=ablation"
	PYTHONPATH=scripts $(RUN) gradleak.workflow.forecast --cores $(CORES) $(ARGS)

slurm-test: setup  ## a private SLURM from Debian's packages (installed here, as root), and a sweep on it while things go wrong
	$(APT_INSTALL) $$(sed -n '/^# SLURM/,/^$$/{/^[^#]/p}' tests/packages.txt)
	GRADLEAK_SLURM=required $(BIN)/python -m pytest tests/slurm $(ARGS)

slurm-bench: setup  ## what a job costs on SLURM beyond its work, and the smoke study through the profile
	$(BIN)/python tests/benchmarks/bench_slurm.py --smoke $(ARGS)

report: setup  ## Snakemake's own report with the provenance of every figure and table
	$(SNAKE) --report results/snakemake-report.html $(ARGS)
	@echo "Report: $$PWD/results/snakemake-report.html"

ui: setup  ## MLflow on the results of this folder
	$(BIN)/python scripts/open_ui.py $(ARGS)

tracking-server: setup  ## MLflow on PostgreSQL, for a team; see docs/how-to/tracking.md
	$(BIN)/python scripts/serve_mlflow.py $(ARGS)

prune: setup  ## compare every run in MLflow with results/, and delete those of cells that have left the study
	$(SNAKE) --cores 1 --quiet rules --forcerun sync_mlflow --config 'tracking={prune: true}' $(ARGS) -- results/mlflow/synced.json

lint: setup  ## what CI checks before the tests: style and layout of Python and of rules, types, Snakemake's own lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m snakefmt --check Snakefile rules
	$(BIN)/python -m mypy
	$(SNAKE) --lint

schema: setup  ## regenerate config/config.schema.json and docs/reference/config.md from the models
	PYTHONPATH=scripts $(BIN)/python -m gradleak.workflow.schema

clean:
	find results/ -mindepth 1 ! -name README.md -delete # with the slash, of a symbolic link, too
	rm -rf .snakemake

setup: $(STAMP)
	@$(BIN)/python envs/moved.py

$(STAMP): $(LOCK)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 " + "$(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $(LOCK)
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib scripts || true  # on all cores, which pip does not; a few packages ship files for other Pythons
	@touch $@

gpu: setup  ## adds the CUDA libraries
	$(BIN)/python -m pip install --quiet --require-hashes -r envs/requirements-gpu.lock

lock:  ## re-resolve the locks (needs uv)
	cd envs && uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements.in -o requirements.lock
	cd envs && uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-gpu.in -o requirements-gpu.lock
	cd envs && uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-frameworks.in -o requirements-frameworks.lock
