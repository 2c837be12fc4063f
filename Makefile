# `make test` and `make demo` need only Python ≥ 3.11, make and pip: they build .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.edgeslim-dev
# Google's Task Library was given up: Python 3.11, numpy 1 and protobuf 3, so an environment of its own.
PYTHON311 ?= python3.11
TASK_LIBRARY := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/edgeslim/tflite-support-0.4.4

.PHONY: test test-all check format lint types docs kotlin demo task-library clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgeslim needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow"

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# Links and the reference: seconds. That every command in README and docs runs is a test among the others.
docs: $(STAMP)
	$(BIN)/python -m pytest -q tests/docs -m "not slow" -k "not the_commands_work"

# android_demo: formatted, built without a warning, tested against the same goldens; needs a JDK and Maven.
kotlin:
	@if command -v mvn >/dev/null && command -v javac >/dev/null; then \
	    mvn -B -ntp -q -f android_demo/pom.xml package && cat android_demo/*/target/surefire-reports/*.txt | \
	    awk '/^Tests run:/ {n += $$3} END {print "android_demo: formatted, built, " n " tests passed"}'; \
	else echo "android_demo: neither formatted, built nor tested, as there is no mvn or no javac here"; fi

# One after the other also under `make -j`: the cheap ones first, and the tests' summary is the last line printed.
check:
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory types
	$(MAKE) --no-print-directory docs
	$(MAKE) --no-print-directory kotlin
	$(MAKE) --no-print-directory test

demo: $(STAMP)
	$(BIN)/edgeslim demo --out demo

# What tests/targets/task_library.py looks for. libusb-package: the wheel wants libusb, which a bare machine has not.
task-library: $(TASK_LIBRARY)/.ready

$(TASK_LIBRARY)/.ready:
	$(PYTHON311) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet tflite-support==0.4.4 'numpy<2' 'protobuf<4' libusb-package==1.0.30.0
	touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
