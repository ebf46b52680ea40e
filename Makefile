# The only commands that the README and CI use. Every target does its own set-up and is quick the second time.
#   make setup [TORCH=system|none] [PYTHON=python3.11]   make demo   make drive   make test   make check   make bench   make doctor   make clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
TORCH ?= pinned
PYTHON ?=
ARGS ?=
BOOT := $(firstword $(PYTHON) $(shell command -v python3 2>/dev/null) python3)
SETUP := env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u LD_LIBRARY_PATH $(BOOT) pip_ros/setup_env.py $(if $(PYTHON),--python $(PYTHON)) --torch $(TORCH)
PY := .venv/bin/python
TRAINING_PY := .venv-training/bin/python
# A Python of one environment leaves variables that break another's, so every call starts without them.
RUN := env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u LD_LIBRARY_PATH
DEFAULT_MARKS := not gpu and not real_ros and not colcon and not bench and not faults_all

.PHONY: help soak setup setup-jazzy setup-training demo demo-replay drive test test-kilted test-live test-pure test-jazzy test-training check bench bench-train train-small compare-world test-colcon test-real-ros test-gpu test-faults test-all doctor clean
help:
	@sed -n 's/^#   //p' Makefile; echo "more: demo-replay soak test-live test-pure setup-training train-small bench-train test-training test-colcon test-real-ros test-gpu test-faults test-all"

setup:
	@$(SETUP) --venv .venv --distro kilted

setup-jazzy:
	@$(SETUP) --venv .venv-jazzy --distro jazzy

# The training workspace: an environment of its own, without ROS.
setup-training:
	@env -u _ROS_WHEELS_BOOTSTRAP_COMPLETE -u LD_LIBRARY_PATH $(BOOT) training/setup_training.py $(if $(PYTHON),--python $(PYTHON)) --torch $(if $(filter system,$(TORCH)),system,pinned)

# A drive through live nodes in the built-in world, its video and its report. Arguments: make demo ARGS="--help"
demo: setup
	$(RUN) .venv/bin/world demo $(ARGS)

# A recorded drive through live nodes, the same drive offline, and the report that compares them.
demo-replay: setup
	$(RUN) .venv/bin/vavam demo $(ARGS)

# One scenario, to watch: make drive ARGS="turns/000-left --driver expert"
drive: setup
	$(RUN) .venv/bin/world drive $(ARGS)

# Live nodes mostly wait for time to pass. What only computes runs beside them, behind them in priority, and prints when they are done.
test: setup setup-jazzy setup-training
	@mkdir -p out
	@OMP_NUM_THREADS=1 nice -n 19 $(MAKE) --no-print-directory -j2 --output-sync=target test-pure test-training > out/test-beside.log 2>&1 & beside=$$!; trap 'kill $$beside 2>/dev/null' INT TERM; \
	status=0; $(MAKE) --no-print-directory test-live test-jazzy || status=$$?; \
	echo "== beside them (out/test-beside.log):"; wait $$beside || status=$$?; cat out/test-beside.log; exit $$status

# All of them one after the other: make test-kilted ARGS="-k watchdog"
test-kilted: setup
	@mkdir -p out
	$(RUN) $(PY) -m pytest -m "$(DEFAULT_MARKS)" --junitxml=out/junit-kilted.xml $(ARGS)
	@$(RUN) $(PY) test/require_ran.py out/junit-kilted.xml nodes

test-live: setup
	@mkdir -p out
	$(RUN) $(PY) -m pytest -m "ros and ($(DEFAULT_MARKS))" --junitxml=out/junit-live.xml $(ARGS)
	@$(RUN) $(PY) test/require_ran.py out/junit-live.xml nodes

test-pure: setup
	@mkdir -p out
	$(RUN) $(PY) -m pytest -m "not ros and ($(DEFAULT_MARKS))" --junitxml=out/junit-pure.xml $(ARGS)
	@$(RUN) $(PY) test/require_ran.py out/junit-pure.xml core

# The other supported distribution of wheels: the node tests marked smoke.
test-jazzy: setup-jazzy
	@mkdir -p out
	$(RUN) .venv-jazzy/bin/python -m pytest -m "smoke and ($(DEFAULT_MARKS))" --junitxml=out/junit-jazzy.xml -p no:cacheprovider test/nodes
	@$(RUN) .venv-jazzy/bin/python test/require_ran.py out/junit-jazzy.xml nodes

# The training workspace, in its own environment: everything but what needs a GPU.
test-training: setup-training
	$(RUN) $(TRAINING_PY) -m pytest -m "$(DEFAULT_MARKS)" -p no:cacheprovider training/test $(ARGS)

# From nothing to a model that drives the built-in world: hours. ARGS="--fast": minutes, to see the way.
train-small: setup setup-training
	$(RUN) $(TRAINING_PY) training/train_small.py $(ARGS)

# The paper's claims at the size of the built-in world: hours. make compare-world ARGS="pretrained --tokens world=out/world/tokens"
compare-world: setup setup-training
	$(RUN) $(TRAINING_PY) training/compare_world.py $(ARGS)

check: setup setup-training
	$(RUN) $(PY) -m ruff check .
	$(RUN) $(PY) -m ruff format --check pip_ros/*.py setup.py test/*.py
	$(RUN) $(PY) -m mypy
	$(RUN) $(TRAINING_PY) -m mypy --config-file training/mypy.ini
	$(RUN) $(PY) -m pytest -q -m "drift or imports" test

bench: setup
	$(RUN) $(PY) -m bench $(ARGS)

# Half an hour of pictures through live nodes: does memory or latency grow? ARGS="--minutes 5"; ARGS="--write" renews docs/results/soak.md.
soak: setup
	$(RUN) $(PY) -m bench soak $(ARGS)

# Training: what detaching the video model saves, whether loading keeps up, tokens/s, memory, MFU. ARGS="--write" renews docs/results/training_speed.md.
bench-train: setup-training
	$(RUN) $(TRAINING_PY) -m vavam_training.bench $(ARGS)

# colcon build, plain and --symlink-install, of this tree with the PyPI tools; then its install space is used.
test-colcon:
	@$(SETUP) --venv .venv-colcon --distro kilted --with colcon
	$(RUN) .venv-colcon/bin/python -m pytest -q -m colcon -p no:cacheprovider test/test_colcon.py

# LAUNCH_SRC=… LAUNCH_ROS_SRC=… MESSAGE_FILTERS_SRC=… CV_BRIDGE_SRC=… [GEOMETRY2_SRC=…]: checkouts of the real packages. RECORD=1 renews the vectors.
test-real-ros: setup
	$(RUN) $(PY) test/real_ros/run.py $(if $(RECORD),--record) $(foreach s,LAUNCH LAUNCH_ROS MESSAGE_FILTERS CV_BRIDGE GEOMETRY2,$(if $($(s)_SRC),--$(s)-src "$($(s)_SRC)"))

test-gpu: setup
	$(RUN) $(PY) -m pytest -m gpu $(ARGS)

# Every fault on a whole system that drives, in every way of running the nodes: a quarter of an hour.
test-faults: setup
	$(RUN) $(PY) -m pytest -m faults_all world/test/faults $(ARGS)

test-all: check test test-faults test-colcon

doctor: setup
	$(RUN) .venv/bin/vavam doctor $(ARGS)

clean:
	rm -rf build install log out dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	@echo "kept: .venv .venv-jazzy .venv-training .venv-colcon (remove them by hand for a set-up from nothing)"
