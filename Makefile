# make quickstart   install, and run the main job on an embedded archive
# make test         install, and run everything that CI runs
# make quick        lint, and the tests that take a minute
# make benchmark    speed and memory against peers, into docs/benchmarks.md; DATA=FOLDER adds what needs recordings
# Everything is installed into .venv; nothing outside this folder is changed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -q
# test files side by side, one process a core up to four, each with one thread
JOBS   ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)

DATA   ?=

.PHONY: benchmark quickstart test quick install lint types doctest api tests unit integration e2e wheel loading-script environments clients clean

quickstart: $(READY)
	$(BIN)/hf-inatsounds quickstart --out quickstart

test: lint types doctest api tests wheel quickstart

# Under a minute on two cores, once installed: lint, and the unit tests that are not marked slow.
quick: lint
	OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile -m 'not slow' tests/unit

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or later is needed; try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "no venv module: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

doctest: $(READY)
	$(PYTEST) --doctest-modules hf_inatsounds

# The API reference; it fails where a public name has no entry.
api: $(READY)
	$(BIN)/python docs/make_api.py build/api

tests unit integration e2e: $(READY)
	OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile $(if $(filter tests,$@),tests,tests/$@)

# Long (an archive of 4 GB, twenty kills of two commands), and only worth something on a quiet machine.
benchmark: $(READY)
	$(BIN)/python -m benchmarks.run $(if $(DATA),--data $(DATA))

# The wheel alone, outside any checkout, on the libraries of this environment; then on those of the data part.
wheel: $(READY)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(BIN)/python -m tests.environments.check_wheel build/wheel/*.whl build/wheel/check

# The loading script under datasets 3.6.0, in an environment of its own, against the builder under this one's datasets.
# Not part of `make test`: building the environment takes about a minute.
OLD := .venv-loading-script

loading-script: $(READY) $(OLD)/.ready
	$(BIN)/python tests/environments/loading_script_rows.py --against $(OLD)/bin/python

$(OLD)/.ready: pyproject.toml Makefile
	$(PYTHON) -m venv $(OLD)
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check datasets==3.6.0 \
	  pyarrow numpy soundfile soxr pyyaml isal rapidgzip cryptography requests 'fsspec[http]'
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Other versions of datasets, each with soundfile alone in an environment of its own: do they read what publish makes?
# Not part of test, since it downloads two environments: about two minutes.
# Then the lowest and the newest versions of all libraries that pyproject.toml allows, each with the quickstart and the
# tests that meet them most.
environments: $(READY) .venv-datasets-3.6/.ready .venv-datasets-4/.ready .venv-lowest/.ready .venv-newest/.ready
	$(BIN)/python -m tests.environments.check_mirror \
	  .venv-datasets-3.6/bin/python .venv-datasets-4/bin/python $(BIN)/python
	for e in lowest newest; do \
	  rm -rf build/$$e && .venv-$$e/bin/hf-inatsounds quickstart --out build/$$e --quiet && \
	  OMP_NUM_THREADS=1 .venv-$$e/bin/python -m pytest -q -n $(JOBS) --dist loadfile $(MEETING) || exit 1; \
	done

MEETING := tests/unit/test_recipes.py tests/unit/test_families.py tests/unit/test_checkpoint_reading.py \
  tests/unit/test_backbones.py tests/integration/test_dataset.py tests/integration/test_training.py \
  tests/integration/test_training_options.py tests/integration/test_training_arguments.py \
  tests/integration/test_stopping.py tests/integration/test_python_face.py

.venv-lowest/.ready: PINS := -c constraints-lowest.txt
.venv-newest/.ready: PINS := 'torch==2.13.0' --upgrade
.venv-lowest/.ready .venv-newest/.ready: pyproject.toml constraints-lowest.txt Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PINS) -e '.[models,lora,trackers]' \
	  pytest pytest-timeout pytest-xdist hypothesis
	@touch $@

.venv-datasets-3.6/.ready: REQUIREMENT := datasets==3.6.0
.venv-datasets-4/.ready: REQUIREMENT := datasets>=4,<5
.venv-datasets-%/.ready: Makefile
	$(PYTHON) -m venv .venv-datasets-$*
	.venv-datasets-$*/bin/python -m pip install --quiet --disable-pip-version-check '$(REQUIREMENT)' soundfile
	@touch $@

# Clients that decode the audio column: torchcodec with FFmpeg, librosa under datasets 3.6, and neither. FFmpeg's libraries
# come with PyAV's wheel, so that nothing has to be installed into the system. Not part of test: three environments.
TORCHCODEC := torchcodec==0.13.0 'av>=18,<19'

clients: $(READY) .venv-clients-3.6/.ready .venv-clients-4/.ready .venv-clients-5/.ready
	$(BIN)/python -m tests.environments.check_clients $(BIN)/python \
	  .venv-clients-3.6/bin/python .venv-clients-4/bin/python .venv-clients-5/bin/python

.venv-clients-3.6/.ready: REQUIREMENT := datasets==3.6.0 'fsspec<=2025.3.0' 'dill<0.3.9' 'multiprocess<0.70.17'
.venv-clients-4/.ready: REQUIREMENT := 'datasets>=4,<5'
.venv-clients-5/.ready: REQUIREMENT := datasets==5.2.0
.venv-clients-%/.ready: Makefile $(READY)
	$(PYTHON) -m venv .venv-clients-$*
	$(BIN)/python -c 'import glob, sysconfig; open(glob.glob(".venv-clients-$*/lib/*/site-packages")[0] + "/libraries.pth", "w").write(sysconfig.get_path("purelib"))'
	.venv-clients-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-installed $(REQUIREMENT) $(TORCHCODEC)
	.venv-clients-$*/bin/python -m pip install --quiet --disable-pip-version-check httpx
	@touch $@

clean:
	rm -rf $(VENV) $(OLD) .venv-lowest .venv-newest .venv-datasets-* .venv-clients-* build quickstart .pytest_cache .mypy_cache .ruff_cache .hypothesis
