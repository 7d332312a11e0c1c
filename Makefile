# Everything starts here, on a Debian machine with git, make, curl and cargo. Each target sets up what it needs; what is
# there already is not fetched again. Everything lands in ./target.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)
# The date of the build (src/qss/clock.rs): that of the commit.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2> /dev/null)
.PHONY: help demo test trials interop bench bench-full cross check figures fuzz sim fleet clean packages-%

# The mixer of the demo: `lab` (built in) or `asterisk` (a real ConfBridge, 20 MB).
MIXER ?= lab
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# Device-hours of `make sim`; SEED: only this one, again.
HOURS ?= 10000
SEED ?=

help:
	@echo 'make demo    two endpoints on virtual sound cards: a talk with ladder, table and heard.wav, then a tour of calls'
	@echo '             MIXER=asterisk does it through a real ConfBridge'
	@echo 'make test    everything that can pass or fail'
	@echo 'make trials  takes each behaviour out of the product: its test must fail (no part of make test)'
	@echo 'make interop  the matrix against a real Asterisk, a row each (part of make test)'
	@echo 'make bench   measures the endpoint and baresip side by side: target/bench/report.json'
	@echo 'make bench-full  the same for 40 minutes, over bad lines too: docs/lines.md, docs/lines.svg'
	@echo 'make cross   aarch64 and armv7 binaries, each tried in a call under an emulator (root or Docker)'
	@echo 'make check   fmt, clippy, the pure core by itself, the fuzz targets'
	@echo 'make figures  prints what docs/voice.md has tables of, and more for whoever changes the buffer'
	@echo 'make fuzz    lets every fuzz target search for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'make sim     simulates HOURS=$(HOURS) device-hours of faults: target/sim/report.json'
	@echo '             SEED=n lives one of them again'
	@echo 'make fleet   10,000 endpoints lose their QSS, and the power: target/sim/fleet.json'
	@echo 'make clean   removes ./target'

packages-%:
	@command -v cargo > /dev/null || { echo 'cargo is needed: https://rustup.rs' >&2; exit 1; }
	@tests/lab/setup/packages.sh $*

demo: packages-demo
	@if [ '$(MIXER)' = asterisk ]; then tests/lab/asterisk/install.sh; fi
	cargo build --locked --release --bin qss-endpoint
	cargo build --locked --package lab --package vsnd
	target/debug/lab-demo --endpoint target/release/qss-endpoint --mixer $(MIXER)

test: packages-test
	@tests/lab/asterisk/install.sh
	cargo check --locked --quiet --lib --no-default-features
	cargo build --locked --workspace
	@mkdir -p target/lab
	@cargo test --locked --workspace --no-fail-fast 2>&1 | tee target/lab/test.log && rc=0 || rc=$$?; \
	  awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	    /^[0-9]+ passed, [0-9]+ failed$$/ { passed += $$1; failed += $$3 } \
	    END { printf "%d passed, %d failed%s\n", passed, failed, ignored ? ", " ignored " ignored" : "" }' target/lab/test.log; \
	  exit $$rc

# ROWS: only trials with one of these words, for example ROWS="token Retry-After".
trials: packages-test
	cargo run --locked --quiet --package trials -- $(ROWS)

# ROWS: only those, for example ROWS="sdes mux".
interop: packages-test
	@tests/lab/asterisk/install.sh
	cargo build --locked --package vsnd
	cargo test --locked --test interop -- $(ROWS)

# In ten minutes; bench-full in forty. PARTS: only those, for example PARTS="visits lines".
bench-full: BENCH_SIZE = --full
bench bench-full: packages-bench
	@tests/lab/asterisk/install.sh
	cargo build --locked --release --bin qss-endpoint
	cargo build --locked --release --package vsnd --package gauge
	cargo build --locked --package lab
	@if [ -n '$(BENCH_SIZE)' ]; then cargo test --locked --profile simulation --test voice --no-run; fi
	VSND_LIB=$(CURDIR)/target/release/libasound_module_pcm_vsnd.so \
	  target/debug/lab-bench --endpoint target/release/qss-endpoint --report target/bench/report.json \
	    $(BENCH_SIZE) $(foreach part,$(PARTS),--only $(part))

# Tests that print and judge nothing.
figures: packages-test
	cargo test --locked --test opus_line --test voice -- --ignored --nocapture figures copies_against_fec

cross: packages-cross
	tests/lab/cross/cross.sh

check: packages-fuzz
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --lib --no-default-features -- -D warnings
	cp Cargo.lock fuzz/Cargo.lock
	cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir target/fuzz/check

fuzz: packages-fuzz
	fuzz/run.sh $(FUZZ_SECONDS)

sim: packages-build
	cargo build --locked --profile simulation --package sim
	target/simulation/sim $(if $(SEED),--seed $(SEED),--hours $(HOURS))

fleet: packages-build
	cargo build --locked --profile simulation --package sim
	target/simulation/fleet

clean:
	rm -rf --one-file-system target fuzz/target
