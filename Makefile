# Penstock. `make help` lists what can be made. Everything lands in .venv and build; `make clean` removes both.
#
# Quiet: one line per step with its duration; a step's output is in build/log and shown when it fails.

PYTHON ?= python3
SECONDS ?=
BROKER ?=
SPEC ?=
ONLY ?=
OUT ?=
LONG ?=
BOARD ?= qemu-arm64
JOBS ?= 2

VENV := .venv
PY := $(VENV)/bin/python
LOG := build/log
RUNTIME_MAKE = $(MAKE) -C runtime_c -j$(JOBS) PYTHON=$(abspath $(PY))
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: demo test build check fmt bench hil spec fuzz wheels image clean help dev

# The C compiler: CC if given, else cc if it and the C library's headers work, else the one in the ziglang wheel.
ifeq ($(origin CC),default)
  CC := $(shell echo '#include <stdio.h>' | cc -x c -fsyntax-only - 2>/dev/null && echo cc)
endif
ifeq ($(CC),)
  CC := $(abspath $(PY)) -m ziglang cc
endif
export ZIG_GLOBAL_CACHE_DIR ?= $(abspath build/zig-cache)
export ZIG_LOCAL_CACHE_DIR ?= $(ZIG_GLOBAL_CACHE_DIR)/local
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# $(call step,NAME,TEXT,COMMAND): run COMMAND, tell what it does and how long it took.
define step
@mkdir -p $(LOG); printf '  %-58s' '$(2)'; begin=$$(date +%s%N); \
if { $(3) ; } > $(LOG)/$(1).log 2>&1; \
then took=$$(( ($$(date +%s%N) - begin) / 100000000 )); printf '%5d.%d s\n' $$((took / 10)) $$((took % 10)); \
else printf ' failed\n\n'; tail -n 60 $(LOG)/$(1).log; printf '\n(all of it: $(LOG)/$(1).log)\n'; exit 1; fi
endef

# ---- setting up ------------------------------------------------------------------------------------------------------

RUNTIME_SOURCES := $(wildcard runtime_c/include/*.h runtime_c/wasm/*.[ch] runtime_c/aot/*.[ch] runtime_c/wasi/*.[ch] runtime_c/flow/*.[ch])
PLUGIN_FOLDERS := $(patsubst %/plugin.toml,%,$(wildcard plugins/*/plugin.toml))
PLUGIN_SOURCES := $(wildcard plugins/sdk/c/*.h $(addsuffix /*.[ch],$(PLUGIN_FOLDERS)) $(addsuffix /plugin.toml,$(PLUGIN_FOLDERS)))
SITE_PACKAGES_DONE := $(VENV)/.packages
DEV_PACKAGES_DONE := $(VENV)/.packages-dev
RUNTIME_DONE := build/.runtime
PLUGINS_DONE := build/.plugins

# A stamp says what was built from, not that it is still there.
ifeq ($(wildcard gateway/_runtime*.so),)
.PHONY: $(RUNTIME_DONE)
endif

# What only the system's package manager can install, asked before anything is downloaded.
define PREREQUISITES
import importlib.util, os, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit(f"Python {sys.version.split()[0]} is too old, 3.11 is needed: make PYTHON=python3.12, or a newer system")
need = [] if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv") else ["python3-venv"]
header = os.path.join(sysconfig.get_path("include"), "Python.h")
need += [] if os.path.exists(header) else ["python3-dev"]
if need:
    sys.exit("missing: " + ", ".join(need) + ". Install with\n    sudo apt install " + " ".join(need))
endef
export PREREQUISITES

$(PY):
	@command -v $(PYTHON) > /dev/null || { \
	  printf 'missing: $(PYTHON). Install with\n    sudo apt install python3 python3-venv python3-dev\n' >&2; exit 1; }
	@$(PYTHON) -c "$$PREREQUISITES"
	$(call step,venv,virtual environment in $(VENV),$(PYTHON) -m venv $(VENV))

$(SITE_PACKAGES_DONE): requirements.lock | $(PY)
	$(call step,packages,packages of requirements.lock,$(PY) -m pip install -r requirements.lock)
	@touch $@

$(DEV_PACKAGES_DONE): requirements-dev.lock $(SITE_PACKAGES_DONE)
	$(call step,packages-dev,packages of requirements-dev.lock,$(PY) -m pip install -r requirements-dev.lock)
	@touch $@

$(RUNTIME_DONE): $(RUNTIME_SOURCES) gateway/_runtime_build.py gateway/_runtime_call.c setup.py pyproject.toml $(SITE_PACKAGES_DONE)
	$(call step,runtime,C runtime and Python package ($(notdir $(CC))),CC='$(CC)' $(PY) -m pip install --no-deps --no-build-isolation -e .)
	@touch $@

$(PLUGINS_DONE): $(PLUGIN_SOURCES) gateway/app/plugin_build.py gateway/config/manifest.py $(RUNTIME_DONE)
	$(call step,plugins,plugins to WebAssembly: $(notdir $(PLUGIN_FOLDERS)),$(PY) -m gateway.app.plugin_build $(PLUGIN_FOLDERS))
	@touch $@

build: $(PLUGINS_DONE) ## set up, compile the C runtime and the plugins
dev: $(PLUGINS_DONE) $(DEV_PACKAGES_DONE)

# ---- running ---------------------------------------------------------------------------------------------------------

demo: $(PLUGINS_DONE) ## run against a simulated plant  [SECONDS=20] [BROKER=host:port]
	@$(PY) -m gateway.app.demo --state build/demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(BROKER),--broker $(BROKER))

test: dev ## set up, then run every test
	$(call step,runtime-tests,C runtime: library tests and tools for this machine,$(RUNTIME_MAKE) all)
	@$(PY) -m pytest -n $(JOBS) --dist worksteal --durations 15 -q --ignore tests/hil tests

check: dev ## ruff, mypy --strict, clang-format; changes nothing
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	@$(VENV)/bin/clang-format --dry-run --Werror $$(find runtime_c gateway/_runtime_call.c plugins tests bench -name '*.[ch]')

fmt: dev ## format Python and C
	@$(PY) -m ruff check --fix-only -q . ; $(PY) -m ruff format -q .
	@$(VENV)/bin/clang-format -i $$(find runtime_c gateway/_runtime_call.c plugins tests bench -name '*.[ch]')

bench: dev ## measure, print one JSON  [ONLY=engine|flow|footprint|host|ota] [OUT=FILE.json]
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(if $(OUT),--out $(OUT))

hil: dev ## build the image, run it in QEMU: field, updates, power cuts  [LONG=1]
	@PENSTOCK_HIL_LONG=$(LONG) $(PY) -m pytest -q --durations 15 tests/hil

spec: dev ## run the official WebAssembly tests: interpreted, compiled, emulated  [SPEC=FILE.zip]
	@$(PY) -m tests.runtime_c.spec $(SPEC)
	@$(PY) -m tests.runtime_c.spec --aot $(SPEC)
	@$(PY) -m tests.runtime_c.spec --target aarch64 $(SPEC)
	@$(PY) -m tests.runtime_c.spec --target armv7 $(SPEC)

fuzz: dev ## mutate modules and run them under sanitizers  [SECONDS=60]
	@$(PY) -m tests.runtime_c.fuzz --seconds $(or $(SECONDS),60)

wheels: dev ## cross-compile the Python package for aarch64 and armv7
	@$(PY) -m gateway.image.wheels

image: dev ## build a board's system image  [BOARD=qemu-arm64] [OUT=DIR]
	@$(PY) -m gateway.app.cli image build --board $(BOARD) $(if $(OUT),--out $(OUT))

clean: ## remove everything that was made
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache gateway/_runtime.c gateway/_runtime*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16
