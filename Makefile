# The habitual verbs; `make` alone lists them. Everything sets itself up: the Rust toolchain comes from
# rust-toolchain.toml, the servers are built once by Go and cached, PostgreSQL is found or installed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# In continuous integration every clone shares one build folder.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/signalbox/target
endif

CARGO ?= cargo
CLI := $(CARGO) run --quiet --package signalbox-cli --

.PHONY: help demo dev test bench bench-keep crash-points crash-point views refusals steady-faults seeds scoreboard check fmt lint build servers generate generated

help: ## List the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## Show the main job on real servers, check every step, end by itself
	@echo "building signalbox (a few minutes the first time)"
	$(CARGO) build --package signalbox-cli
	@$(CLI) dev --demo

dev: tools ## The same servers and parts with the example app, until Ctrl-C
	@echo "building signalbox (a few minutes the first time)"
	$(CARGO) build --package signalbox-cli
	@$(CLI) dev

test: tools fmt-check lint pure generated build servers ## Everything: format, lints, generated files, all tests on real servers
	$(CARGO) test --workspace --no-fail-fast
	@$(CARGO) run --quiet --package signalbox-scoreboard || true
	@echo "all tests passed"

bench: tools servers ## Measure beside the peers (half an hour; an idle machine). SCENARIOS="idle storm" CONTENDERS=signalbox,kopf BENCH=--small
	$(CARGO) build --release --workspace --bins
	@$(CARGO) run --quiet --release --bin signalbox-bench -- $(SCENARIOS) $(if $(CONTENDERS),--contenders $(CONTENDERS)) $(BENCH)

bench-keep: tools ## Keep the ratios of the last `make bench`: later runs are compared with them
	@$(CARGO) run --quiet --release --bin signalbox-bench -- --keep

crash-points: tools servers build ## Kill each part at each of its effects, on real servers (about twenty minutes)
	@$(CARGO) test --quiet --workspace --test crash_points every_crash_point -- --ignored --nocapture

crash-point: tools servers build ## One of these again, or all in a folder: make crash-point POINT=<file>
	@SIGNALBOX_POINT=$(abspath $(POINT)) $(CARGO) test --quiet --workspace --test crash_points replayed -- --ignored --nocapture

views: tools servers build ## Hide states from the watcher and lead it back to past ones, on real servers (about ten minutes)
	@$(CARGO) test --quiet --workspace --test crash_points every_view -- --ignored --nocapture

refusals: tools servers build ## Refuse each effect in every way, and lose each answer, on real servers (an hour)
	@$(CARGO) test --quiet --workspace --test crash_points every_refusal -- --ignored --nocapture

steady-faults: tools servers build ## Faults that last, in their long forms, with their figures (an hour)
	@SIGNALBOX_AWAY_SECONDS=180 SIGNALBOX_BUS_AWAY_SECONDS=600 SIGNALBOX_SILENT_SECONDS=120 SIGNALBOX_REVOKED=all SIGNALBOX_STEADY_LONG=1 \
		$(CARGO) test --quiet --workspace --test steady -- --nocapture --test-threads=1
	@SIGNALBOX_STEADY_LONG=1 $(CARGO) test --quiet --workspace --test main_job every_owned_field -- --nocapture

scoreboard: tools servers build ## Measure what is promised and print it row by row (LONG=1: every point, long outages, hours)
	@export SINCE=$$(date -u +%Y-%m-%dT%H:%M:%SZ); \
	$(if $(LONG),$(MAKE) --no-print-directory crash-points views refusals steady-faults,\
		$(CARGO) test --quiet --workspace --test crash_points --test steady -- --nocapture || true; \
		$(CARGO) test --quiet --workspace --test main_job every_owned_field -- --nocapture || true); \
	$(CARGO) test --quiet --workspace --test simulation || true; \
	$(CARGO) run --quiet --package signalbox-scoreboard -- --since "$$SINCE"

seeds: ## Run 100,000 seeds of the simulation, optimised: make seeds COUNT=1000 FROM=1
	@$(CARGO) run --quiet --release --package signalbox-simulation -- --from $(or $(FROM),1) --count $(or $(COUNT),100000)

check: ## Compile everything, quickly
	$(CARGO) check --workspace --all-targets

build: ## Compile everything that tests start
	$(CARGO) build --workspace --bins

servers: ## Build the servers that tests and the demo start (once per version)
	$(CARGO) run --quiet --package signalbox-devcluster --bin signalbox-devcluster -- build

fmt: ## Format
	$(CARGO) fmt --all

.PHONY: tools fmt-check pure deny
fmt-check:
	$(CARGO) fmt --all --check

lint: ## Lints, warnings denied
	$(CARGO) clippy --workspace --all-targets --all-features -- --deny warnings

# The planner's library knows no runtime, no bus and no client.
pure:
	$(CARGO) check --package signalbox-planner --lib --no-default-features

generate: ## Write deploy/generated from the code
	@$(CLI) generate

generated: ## Check that deploy/generated is what the code says
	@$(CLI) generate --check

deny: ## Licences and advisories of dependencies (needs cargo-deny)
	$(CARGO) deny check

tools:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v go >/dev/null || { echo "go is missing: install Go (https://go.dev/dl), it builds the servers" >&2; exit 1; }
