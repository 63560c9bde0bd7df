# Two targets do everything: `make demo` and `make test`. Each installs what it needs.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test releases holes bench bench-check-ins bench-million bench-year bench-coverage bench-rollout bench-agent dist dist-agent lint setup programs

# The toolchain that scripts/setup found or installed: a newer Cargo first in the path.
CARGO := scripts/cargo

## Show the main job: a real hole in a running stock kernel is closed without a reboot.
demo: programs
	@target/x86_64-unknown-linux-gnu/debug/suture demo --folder demo

## Run all tests, those that boot real kernels included.
# Programs and tests are compiled by one command: it gives both the same features of each library,
# so none is compiled twice.
test: lint
	@scripts/step "compiling Suture and its tests" $(CARGO) build --workspace --bins --tests
	@scripts/step "tests" $(CARGO) test --workspace --bins --lib --tests

lint: setup
	@scripts/step "formatting" $(CARGO) fmt --all --check
	@scripts/step "lints" $(CARGO) clippy --workspace --all-targets -- -D warnings

## Make and load a live patch on a stock kernel of each release that the archive offers, and print
## what came of it (KERNELS: only these).
releases: programs
	@scripts/step "compiling the run over releases" $(CARGO) build --workspace --example releases
	@target/x86_64-unknown-linux-gnu/debug/examples/releases $(KERNELS)

## Show every known hole open, and closed by a live patch, on as many kernels as that takes.
holes: programs
	@SUTURE_TEST_EVERY_FIX=1 scripts/step "every known hole" $(CARGO) test --workspace --test system -- --nocapture every_known_hole

## Print how long a live patch takes against the compiles that it needs, measured in one run.
bench: setup
	@scripts/step "compiling the benchmark" $(CARGO) build --workspace --example bench_build
	@target/x86_64-unknown-linux-gnu/debug/examples/bench_build

## Print how many of the stable series' own fixes become live patches (MINUTES: at most so long).
bench-coverage: programs
	@scripts/step "compiling the benchmark" $(CARGO) build --workspace --example bench_coverage
	@target/x86_64-unknown-linux-gnu/debug/examples/bench_coverage --resume --minutes $(or $(MINUTES),30) --load-each 10

## Print how many machines a bad patch reaches, by our rollouts and by others', in simulation.
bench-rollout: setup
	@scripts/step "compiling the benchmark" $(CARGO) build --workspace --example bench_rollout
	@target/x86_64-unknown-linux-gnu/debug/examples/bench_rollout

## Print check-ins a second on SQLite and PostgreSQL, beside a bare handler, measured in one run.
bench-check-ins: setup
	@scripts/step "compiling the benchmark" $(CARGO) build --release --workspace --example bench_check_ins
	@target/x86_64-unknown-linux-gnu/release/examples/bench_check_ins

## Print how the service holds a fleet that checks in hourly (MACHINES, MINUTES).
bench-million: setup
	@scripts/step "compiling the benchmark" $(CARGO) build --release --workspace --example bench_million
	@target/x86_64-unknown-linux-gnu/release/examples/bench_million $(or $(MACHINES),100000) $(or $(MINUTES),1)

## Print what a year of a fleet leaves in the database (MACHINES).
bench-year: setup
	@scripts/step "compiling the benchmark" $(CARGO) build --workspace --example bench_year
	@target/x86_64-unknown-linux-gnu/debug/examples/bench_year $(or $(MACHINES),2000)

## Print what the agent costs a machine: memory, wake-ups, and time beside a bare insmod.
bench-agent: programs dist-agent
	@scripts/step "compiling the benchmark" $(CARGO) build --workspace --example bench_agent
	@target/x86_64-unknown-linux-gnu/debug/examples/bench_agent target/x86_64-unknown-linux-gnu/dist/livepatch

## Make the programs for shipping: a small `livepatch` in target/x86_64-unknown-linux-gnu/dist, and a
## quick `suture` in release beside it.
dist: dist-agent
	@scripts/step "compiling the service for shipping" $(CARGO) build --release -p suture --bins

dist-agent: setup
	@scripts/step "compiling the agent for shipping" $(CARGO) build --profile dist -p suture-agent --bins

programs: setup
	@scripts/step "compiling Suture" $(CARGO) build --workspace --bins

setup:
	@scripts/setup
