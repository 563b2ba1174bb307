# One entry for people and CI. `make setup` is all that the other targets need; it runs again only
# when the lock file or pyproject.toml has changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The newest interpreter that runs here; pass PYTHON=... to choose another. Each candidate is asked for its version and
# for venv, since a distribution may ship python3 without ensurepip.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
# uv, where it is there, takes seconds for what pip takes a minute; UV= makes pip do it.
UV ?= $(shell command -v uv 2>/dev/null)
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked

# How many tests run at a time, and what a tier may take: seconds on two quiet cores, times TIMES for a machine that is
# slower or has other work. The budget of each file of tests is in tests/budgets.toml.
JOBS ?= 3
NIGHTLY_BENCHMARKS := learning verdict_calibration twin_fidelity thousand_musters keep_follow keep_step keep_drift keep_faults
TIMES ?= 2
within = timeout --foreground --signal=INT --kill-after=30 $$(($(1) * $(TIMES))) $(2) || { code=$$?; \
	[ $$code != 124 ] || echo "make $@: over its budget of $(1) s times $(TIMES); on a slower or busy machine: make $@ TIMES=4" >&2; exit $$code; }

.PHONY: help told setup experiment test check lint types layers unit budgets test-long test-night test-system test-memcached test-keeper test-servers test-vm test-web test-newcomer test-testbed test-sources test-root test-machine test-kernel test-pythons test-nightly test-faults test-attacks test-fuzz audit bench peers image docs dist picture lock clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from the lock file

$(STAMP): requirements.lock pyproject.toml hatch_build.py mustherd/rowlog/rows.c
	@if [ -z "$(PYTHON)" ]; then echo 'make setup: no Python 3.11 or newer with the venv module was found; install one (Debian, Ubuntu: apt install python3-venv) or pass PYTHON=/path/to/python3' >&2; exit 2; fi
	@rm -f $@
	@if [ -n "$(UV)" ]; then \
		echo "setting up $(VENV) with $$($(PYTHON) --version) by $$($(UV) --version)"; \
		rm -rf $(VENV) && $(UV) venv --quiet --seed --python "$$(command -v $(PYTHON))" $(VENV) \
			&& $(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
			&& $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . \
			&& touch $@ || echo "uv could not; pip does it" >&2; fi
	@[ -e $@ ] || { \
		echo "setting up $(VENV) with $$($(PYTHON) --version) by pip: a minute or two"; \
		$(PYTHON) -m venv --clear $(VENV); \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
		touch $@; }

experiment: setup  ## tune a simulated herd: a table, a verdict and an HTML report
	@$(BIN)/mustherd experiment start

test: setup  ## every check that needs no root: some 5 minutes on two cores
	@$(call within,360,$(MAKE) --no-print-directory check unit)

check: setup  ## static checks only
	@$(MAKE) --no-print-directory --output-sync=target -j 2 lint types layers

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q
	$(BIN)/ansible-playbook provision.yml -i inventory/cloudlab --syntax-check

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

unit: setup  ## the tests that need no root; single ones: .venv/bin/pytest tests/herd
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal

budgets: setup  ## the same, and fail for files that take longer than tests/budgets.toml allows
	MUSTHERD_BUDGETS=1 $(BIN)/pytest -q -n $(JOBS) --dist worksteal

test-long: setup  ## many seeds, kills, faults and pages of what `make test` tries a few of
	@$(call within,420,$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m long)

test-night: setup  ## what takes too long for CI of what test-long tries: hundreds of runs
	@$(call within,3600,$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m 'night and (night or long)' --timeout=1800)

test-system: test-memcached test-servers test-vm  ## as root on Debian: real servers, a real kernel; installs what they need

test-memcached: setup
	@command -v memcached >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends memcached; }
	@$(call within,300,$(BIN)/pytest -m memcached)

# SECONDS=3600: the hour that the nightly run has of it.
test-keeper: setup  ## as root on Debian: a keeper on a real memcached under traffic of others, five minutes or SECONDS=n
	@command -v memcached >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends memcached; }
	@$(call within,($(or $(SECONDS),300) + 300),env KEEP_SECONDS=$(or $(SECONDS),300) $(BIN)/pytest -n0 -m keeper)

SERVERS := redis-server redis-benchmark nginx wrk pgbench
test-servers: setup  ## as root on Debian: experiments on Redis, nginx and PostgreSQL
	@for program in $(SERVERS); do command -v $$program >/dev/null || missing=1; done; [ -z "$${missing-}" ] || { \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server redis-tools nginx wrk postgresql; }
	@$(call within,420,$(BIN)/pytest -m servers)

test-vm: setup  ## as root: the node on a real kernel, in a virtual machine
	tests/testbed/install.sh
	@$(call within,900,$(BIN)/pytest -m vm)

# axe-core comes by npm and is only run: nothing of it is kept in the repository or the wheel.
AXE := build/axe/package/axe.min.js
test-web: setup  ## as root on Debian: report, comparison and live page in a browser; fetches chromium and axe-core
	@for program in chromium npm; do command -v $$program >/dev/null || missing="$${missing-} $$program"; done; [ -z "$${missing-}" ] || { \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; }
	@[ -e $(AXE) ] || { mkdir -p build/axe && cd build/axe && npm pack --silent axe-core@4 >/dev/null && tar -xzf axe-core-4*.tgz; }
	@$(call within,240,env AXE=$(AXE) $(BIN)/pytest -q -n0 -m web)

test-testbed: setup  ## as root: provisioning, on hosts with systemd and sshd
	tests/testbed/install-nspawn.sh
	@$(call within,900,$(BIN)/pytest -n 4 --dist loadfile -m 'testbed and not night')

# Both must be there, or what is missing is named: a stand-in would pass for the real one.
test-sources: setup  ## as root: a reservation's rehearsal with mutilate and memcached themselves: SOURCES=folder
	@SOURCES="$(SOURCES)" $(BIN)/python -m tests.testbed.upstreams
	tests/testbed/install-nspawn.sh
	@$(call within,1800,env SOURCES="$(SOURCES)" $(BIN)/pytest -q -n0 -m testbed tests/testbed/test_reservation.py)

# With EACH=once a page but the tutorial is taken on one of them, another each day: what CI has time for.
test-newcomer: setup  ## the wheel in an empty folder, on each Python that is here: every command of tutorial and how-tos
	@$(call within,900,env EACH=$(EACH) $(BIN)/pytest -q -n $(JOBS) --dist loadgroup -m newcomer $(if $(ONLY),-k '$(ONLY)-'))

test-pythons: setup  ## the tests that start no processes, on each newer Python that this machine has
	@$(call within,1800,tests/pythons.sh)

# What takes longer than anybody waits for: once a night, on a machine of its own. As root all of it.
test-nightly: setup test-pythons  ## what CI leaves out: other Pythons, the kernel (as root), the long benchmarks
	@[ "$$(id -u)" != 0 ] || $(MAKE) --no-print-directory test-kernel
	@[ "$$(id -u)" != 0 ] || { tests/testbed/install-nspawn.sh; $(BIN)/pytest -n0 -m 'testbed and night'; }
	@$(MAKE) --no-print-directory test-night
	@$(MAKE) --no-print-directory test-faults MINUTES=$(or $(MINUTES),120)
	@$(MAKE) --no-print-directory test-newcomer
	@$(MAKE) --no-print-directory test-fuzz SECONDS=$(or $(SECONDS),120)
	@export MUSTHERD_BENCH_RUNS=$(or $(RUNS),1000); for name in $(NIGHTLY_BENCHMARKS); do $(MAKE) --no-print-directory bench NAME=$$name; done
	@[ "$$(id -u)" != 0 ] || $(MAKE) --no-print-directory test-keeper SECONDS=3600

test-root: setup  ## as root: what another user of the machine can't do, and what the kernel's own tools show
	@$(call within,300,$(BIN)/pytest -m root)

test-machine: told setup  ## as root, on a machine that is there for it (MACHINE=expendable): provision it, and put it back
	@$(call within,1800,env MUSTHERD_MACHINE=$(MACHINE) $(BIN)/pytest -m machine)

told:
	@[ "$(MACHINE)" = expendable ] || { printf '%s\n' 'make test-machine changes this machine: it installs packages by apt' \
		'(Python, memcached), makes the accounts mustherd and mustherd-load, and writes to /etc/mustherd, /opt/mustherd,' \
		'/var/lib/mustherd, /var/lib/mustherd-node, /usr/local/bin, /etc/security/limits.d and, with systemd, units that it' \
		'starts; it takes all but the packages back. Where that may be: make test-machine MACHINE=expendable' >&2; exit 2; }

test-kernel: setup  ## as root on Debian 12: a kernel built from source, installed, booted, and taken back
	tests/testbed/install-kernel.sh
	@$(call within,7200,$(BIN)/pytest -m kernel)

# A campaign of attacks and fuzzed input begin with a new seed, which they print; SEED=n has the same again.
test-faults: setup  ## attacks on whole herds: make test-faults SEED=n MINUTES=m TABLE=file; as root those on disks too
	@$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),4) --json faults.json \
		$(if $(TABLE),--table $(TABLE)) $(if $(CROWD),--crowd $(CROWD)) $(foreach file,$(EARLIER),--earlier $(file)) \
		$(foreach file,$(FUZZ),--fuzz $(file)) $(foreach file,$(HAND),--hand $(file))

# Rows that need memcached, mounts or other users' ids can't be run where these aren't there, and then say so.
test-attacks: setup  ## as root: what stands for each attack of docs/explain/attacks.md: make test-attacks JSON=file
	@$(BIN)/python -m tests.faults.by_hand $(if $(JSON),--json $(JSON))

test-fuzz: setup  ## mutated input for every reader and port: make test-fuzz SEED=n SECONDS=s COUNT=n
	@$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) --seconds $(or $(SECONDS),4) --count $(or $(COUNT),1000000) \
		$(if $(JSON),--json $(JSON))

audit: setup  ## ask the advisory database about the locked dependencies; needs it to be reachable
	@$(BIN)/python -m tests.audit

bench: setup  ## print one benchmark's JSON: make bench NAME=footprint
	@$(BIN)/python -m tests.benchmarks $(NAME)

peers: setup  ## install what the learning benchmark compares with: Optuna and Ax, and torch for their models
	$(BIN)/pip install --quiet 'optuna>=4.2' 'torch>=2.4' 'ax-platform>=1.0'

BUILDER ?= $(shell command -v podman || command -v docker || command -v buildah)
image: setup  ## the container image, with podman, docker or buildah: deploy/image
	@rm -rf build/image && mkdir -p build/image && cp requirements.lock deploy/image/* build/image
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/image .
	@$(BUILDER) build -t mustherd:$$($(BIN)/mustherd --version | tr -dc '0-9.') -f build/image/Containerfile build/image

DOCS := .venv-docs
docs: setup  ## the docs as a site in build/docs, its gallery from runs of its own; fetches Sphinx, MyST and furo
	@[ -e $(DOCS)/.ready ] || { $(PYTHON) -m venv --clear $(DOCS) && $(DOCS)/bin/pip install --quiet --disable-pip-version-check \
		$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["docs"])') \
		&& touch $(DOCS)/.ready; }
	@rm -rf build/docs-source build/docs && mkdir -p build && cp -r docs build/docs-source
	@$(BIN)/typer mustherd.cli.app utils docs --name mustherd --output build/docs-source/reference/every-command.md >/dev/null
	@$(BIN)/python docs/make_gallery.py build/docs-source
	@$(DOCS)/bin/sphinx-build -q -W --keep-going -b html build/docs-source build/docs && echo build/docs/index.html

# What is released: both archives, as the package index would take them, and what the package stands on, pins and hashes.
DIST := .venv-dist
dist: setup  ## source archive, wheel and their SBOM (CycloneDX) in build/dist; fetches twine and cyclonedx-bom
	@[ -e $(DIST)/.ready ] || { $(PYTHON) -m venv --clear $(DIST) && $(DIST)/bin/pip install --quiet --disable-pip-version-check \
		$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dist"])') \
		&& touch $(DIST)/.ready; }
	@rm -rf build/dist && mkdir -p build/dist
	@$(BIN)/python -c 'import sys; from pathlib import Path; from tests.newcomer.installing import build; print(build(Path(sys.argv[1])))' build/dist
	@rm -rf build/dist/unpacked build/dist/lock
	@$(DIST)/bin/twine check --strict build/dist/*
	@$(BIN)/python -m mustherd.provision.wheelhouse --pins >build/pins.txt
	@$(DIST)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o build/dist/mustherd.cdx.json build/pins.txt

picture: setup  ## draw the README's picture from a finished experiment: make picture FOLDER=experiments/quickstart-...
	$(BIN)/python docs/make_picture.py $(FOLDER)

lock:  ## resolve requirements.lock again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --extra dask --extra duckdb --extra provision --group dev pyproject.toml -o requirements.lock --quiet

clean:  ## remove what was made
	rm -rf $(VENV) mustherd/rowlog/_rows.so .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
