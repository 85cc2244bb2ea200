# Every target makes what it needs first: .venv from the pinned requirements, and, as root on Debian or Ubuntu, missing system
# packages. Values come from the command line, as in: make backup DIR=/etc REPO="/mnt/a disk/backups"
SHELL := /bin/bash
.DEFAULT_GOAL := help
export DIR REPO PYTHON
export RUNS
export ROUNDS DUPLICITY_ROUNDS SMALL TREE WORK PEERS ONLY RESUME REPORT COLD
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help: ## show this list
	@echo 'make backup DIR=/etc [REPO=...]   back DIR up, restore it elsewhere, compare the two'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-28s %s\n", $$1, $$2 }' Makefile

.PHONY: backup
backup:
	@tools/prepare_venv runtime
	@.venv/bin/python tools/first_backup.py --repository "$$REPO" -- "$$DIR"

.PHONY: test
test: servers ## run the tests, real servers included (a few minutes)
	pytest -n auto -m "not ceph and not slow"

.PHONY: test-slow
test-slow: servers ## run the long tests
	pytest -n auto -m "slow and not ceph"

.PHONY: test-ceph
test-ceph: servers ## run the tests against a Ceph cluster that they start
	@tools/install_system ceph
	pytest -m ceph

.PHONY: chaos
chaos: servers ## hosts back up, others prune, all are killed and suspended, on a real server: MINUTES=10 HOSTS=8 SEED=1 TRUST_HOSTS=1 WORK=/dev/shm REPORT=...
	TMPDIR="$(or $(WORK),/dev/shm)" PYTHONPATH=src python -m tests.chaos --minutes "$(or $(MINUTES),10)" --hosts "$(or $(HOSTS),8)" \
		--seed "$(or $(SEED),1)" $(if $(TRUST_HOSTS),--trust-hosts) $(if $(REPORT),--json "$(REPORT)")

.PHONY: drill
drill: servers ## what a thief of a host can read, overwrite and delete on real servers, as JSON lines
	PYTHONPATH=src python -m tests.drill

.PHONY: fuzz
fuzz: dev ## mutate objects of every kind and parse them, for FUZZ_SECONDS=600
	SEEDCORN_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) pytest -q tests/fuzz

.PHONY: simulate
simulate: dev ## simulate SEEDS=100000 runs with faults; the figures go to REPORT=build/simulation.json
	mkdir -p "$(dir $(or $(REPORT),build/simulation.json))"
	python -m seedcorn.testing.simulate --seeds 0-$$(( $(or $(SEEDS),100000) - 1 )) --json > "$(or $(REPORT),build/simulation.json)"

.PHONY: mutation
mutation: dev ## how many small wrong changes the tests notice: SAMPLE=15 of each module (0: all) ONLY=crypto.frames,... REPORT=build/mutation.json
	mkdir -p "$(dir $(or $(REPORT),build/mutation.json))"
	python -m reliability.mutation --sample "$(or $(SAMPLE),15)" --only "$(ONLY)" > "$(or $(REPORT),build/mutation.json)"

.PHONY: budgets
budgets: dev ## write anew how many requests and bytes the steps of tests/budgets may take
	PYTHONPATH=src python -m tests.budgets.measure

.PHONY: benchmark
benchmark: peers ## measure beside other programs: ROUNDS=3 SMALL=1 TREE=/usr WORK=... PEERS=... ONLY=seedcorn,restic RESUME=1
	python -m benchmarks main

.PHONY: benchmark-scale
benchmark-scale: peers ## the same with large files, many hosts, large directories, and a very large index
	mkdir -p "$(or $(WORK),build/benchmark)"
	python -m benchmarks.scale_index --work "$(or $(WORK),build/benchmark)" $(if $(SMALL),--chunks 1_000_000) >"$(or $(WORK),build/benchmark)/scale_index.txt"
	python -m benchmarks scale

.PHONY: peers
peers: servers ## only fetch the programs that benchmarks compare with
	@[[ "$(ONLY)" == seedcorn ]] || tools/get_peers "$(PEERS)"

.PHONY: reliability
reliability: servers ## measure what docs/reliability.md says, and write it: RUNS=100000 RESUME=build SMALL=1 ONLY=model,overhead
	python -m reliability

.PHONY: profile
profile: dev ## where the time of a backup of TREE=/usr goes, as docs/performance.md has it (WORK=... on a disk)
	python -m benchmarks.phases "$(or $(TREE),/usr)" "$(or $(WORK),/var/tmp)"
	python -m benchmarks.scaling "$(or $(TREE),/usr)" "$(or $(WORK),/var/tmp)"

.PHONY: benchmark-micro
benchmark-micro: dev ## time the hot paths by themselves (SELECT=... chooses, as pytest -k)
	pytest benchmarks/micro -q -n 0 -k "$(SELECT)" --benchmark-columns=min,median,rounds --benchmark-sort=name

.PHONY: lint
lint: dev ## style, types, import direction, shell scripts
	@tools/install_system lint
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	shellcheck .ci/run tools/get_peers tools/install_npm_servers tools/install_system tools/pin_requirements tools/prepare_venv

.PHONY: format
format: dev ## put the code into its style
	ruff check --fix .
	ruff format .

.PHONY: requirements
requirements: dev ## pin the newest releases
	tools/pin_requirements

.PHONY: dev
dev: ## only set up .venv for working on the code
	@tools/prepare_venv dev

.PHONY: servers
servers: dev ## only install what the tests run against
	@tools/install_system test
	@tools/install_npm_servers

.PHONY: clean
clean: ## remove what make made in this checkout (no backup is touched)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
