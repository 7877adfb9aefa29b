# FerroLB. The two commands that matter: make demo, make test.

# rustc's version. There is no rust-toolchain.toml: rustup would download a second copy of a version that is
# installed under another name, and could do nothing at all on a machine without a way out.
RUST := 1.95

.DEFAULT_GOAL := help
.PHONY: help demo test test-full check unit e2e deny setup image reproducible dist crds chart metrics reference figures bench performance bench-core bench-allocation bench-layer2 bench-peers bench-scale bench-failover bench-install soak soak-core soak-lab fuzz hot toolchain

help:
	@echo 'make demo       a Kubernetes cluster on this machine, FerroLB in it, and a Service that answers'
	@echo '                (KEEP=1 leaves it up)'
	@echo 'make test       formatting, lints, licences, unit tests, and end-to-end tests in the cluster'
	@echo 'make test-full  the same, and what takes longer'
	@echo 'make image      the container image, as an archive: target/image/ferrolb.tar'
	@echo 'make reproducible'
	@echo '                builds the last commit twice, in different places, and compares every byte'
	@echo 'make dist       what is released, for this machine: programs, SBOM, image, manifests, chart: target/dist'
	@echo 'make crds       crds/*.yaml anew from the Rust types, and what the chart has copies of'
	@echo 'make reference  docs/reference.md anew from the Rust types'
	@echo 'make metrics    the table in docs/metrics.md anew from the code'
	@echo 'make figures    latency, memory and sizes, measured in the cluster'
	@echo 'make soak       soak-core, then soak-lab'
	@echo 'make soak-core  two controllers, and clusters of speakers, in simulations with faults, for millions of'
	@echo '                steps (SEEDS=20000); and all that two things that happen can lead to (ACTS=2)'
	@echo 'make soak-lab   a cluster under traffic, Services that come and go, and a fault every 20 s, for an hour'
	@echo '                (MINUTES=60 SEED=1): bench-results/soak.md'
	@echo 'make fuzz       every parser of frames and objects with libFuzzer; what it finds goes to fuzz/corpus (MINUTES=60)'
	@echo 'make hot        speaker/hot.ld anew: which functions a speaker runs (as root, with valgrind)'
	@echo 'make bench      every figure, FerroLB and its floor in turn, in rounds: tables and plots in bench-results'
	@echo '                (PEERS=1 MetalLB too; ONLY=create,failover ROUNDS=5 SERVICES=10000 TRIALS=6; STRICT=1 ends with'
	@echo '                an error if a figure got worse than in the last committed result by more than its noise)'
	@echo 'make performance'
	@echo '                docs/performance.md anew from bench-results/results.jsonl'
	@echo 'make bench-core what one allocation, plan, answer and hello, and many peers cost, without a cluster'
	@echo 'make bench-allocation'
	@echo '                the controller with 10,000 Services, measured (SERVICES=N ROUNDS=N)'
	@echo 'make bench-layer2'
	@echo '                the speaker: answers a second, latency, a flood, memory, measured'
	@echo '                (SERVICES=N ROUNDS=N ONLY=flood; SERVICES=500 ROUNDS=2 takes two minutes)'
	@echo 'make bench-peers'
	@echo '                one speaker among 10, 100 and 200 others: processor, memory, network, measured'
	@echo '                (PEERS=10,100 TIME=30)'
	@echo 'make bench-scale'
	@echo '                ten speakers at one API server with 10,000 Services, and nodes that die (SERVICES=N TRIALS=N)'
	@echo 'make bench-failover'
	@echo '                how long an address is away when its node or speaker goes, measured in a cluster'
	@echo '                (TRIALS=N ONLY=power-loss,rollout WITH=ferrolb|metallb|both FAST=1)'
	@echo 'make bench-install'
	@echo '                from helm install to the first EXTERNAL-IP, and to an answer, measured in a cluster (TRIALS=N)'

demo: toolchain setup
	@echo 'building the lab …'
	@cargo build --locked -p ferrolb-tests --bin lab
	@target/debug/lab --name demo demo $(if $(KEEP),--keep)

test: toolchain setup check deny unit e2e

test-full: test reproducible
	@tests/e2e/run full

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet

unit:
	cargo test --workspace --exclude ferrolb-tests --locked --quiet
	cargo test --package ferrolb-tests --lib --bins --locked --quiet
	cargo test --package ferrolb-tests --test metrics --locked --quiet -- documents::

e2e:
	@tests/e2e/run

deny:
	@tests/tools/deny

setup:
	@tests/tools/setup

image: toolchain
	@cargo run --quiet --locked -p ferrolb-tests --bin lab -- image

reproducible: toolchain
	@cargo run --quiet --locked -p ferrolb-tests --bin lab -- release reproducible

dist: toolchain
	@cargo run --quiet --locked -p ferrolb-tests --bin lab -- release programs
	@cargo run --quiet --locked -p ferrolb-tests --bin lab -- release image
	@tests/tools/release-files

crds: toolchain
	cargo run --quiet --locked -p ferrolb-crds --bin gen-crds
	@$(MAKE) --no-print-directory chart

# A chart has nothing but what lies in its own folder; a test holds the copies to their originals.
chart:
	@mkdir -p charts/ferrolb/files/crds charts/ferrolb/files/rbac charts/ferrolb/files/admission charts/ferrolb/files/prometheus
	@rm -f charts/ferrolb/files/*/*.yaml charts/ferrolb/files/*/*.json
	@cp crds/*.yaml charts/ferrolb/files/crds/
	@cp config/rbac/controller.yaml config/rbac/speaker.yaml charts/ferrolb/files/rbac/
	@cp config/admission/elsewhere.yaml config/admission/overlap.yaml config/admission/services.yaml charts/ferrolb/files/admission/
	@cp config/components/prometheus/rules.yaml config/components/prometheus/dashboard.json charts/ferrolb/files/prometheus/

metrics: toolchain
	FERROLB_WRITE_DOCS=1 cargo test --package ferrolb-tests --test metrics --locked --quiet -- documents::the_table

reference: toolchain
	cargo run --quiet --locked -p ferrolb-crds --bin gen-reference

figures: toolchain setup
	@tests/e2e/run figures

# The lab runs beside what it measures, so it is built with optimisation.
bench-allocation: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name bench bench allocation \
	  $(if $(SERVICES),--services $(SERVICES)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/allocation.jsonl

bench-layer2: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name bench bench layer2 \
	  $(if $(SERVICES),--services $(SERVICES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/layer2.jsonl

bench-peers: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name bench bench peers \
	  $(if $(PEERS),--peers $(PEERS)) $(if $(TIME),--seconds $(TIME)) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/peers.jsonl

bench-scale: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name scale bench scale \
	  $(if $(SERVICES),--services $(SERVICES)) $(if $(TRIALS),--trials $(TRIALS)) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/scale.jsonl

bench-failover: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name failover bench failover $(if $(TRIALS),--trials $(TRIALS)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(WITH),--with $(WITH)) $(if $(FAST),--fast) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/failover.jsonl

bench-install: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name install bench install $(if $(TRIALS),--trials $(TRIALS)) \
	  --json $${CARGO_TARGET_DIR:-target}/bench/install.jsonl

bench: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name bench bench all \
	  $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PEERS),--peers) \
	  $(if $(SERVICES),--services $(SERVICES)) $(if $(TRIALS),--trials $(TRIALS)) $(if $(STRICT),--fail-on-worse)

performance: toolchain
	@cargo run --quiet --locked -p ferrolb-tests --bin lab -- bench document

bench-core: toolchain
	cargo bench --quiet --locked -p ferrolb-core --bench allocation --bench answers --bench hello --bench peers

soak: soak-core soak-lab

soak-core: toolchain
	FERROLB_SEEDS=$${SEEDS:-20000} cargo test --locked -p ferrolb-controller --lib --profile bench -- \
	  --ignored --nocapture simulation::soak
	FERROLB_SEEDS=$${SEEDS:-20000} cargo test --locked -p ferrolb-core --test simulation --profile bench -- \
	  --ignored --nocapture weather::soak
	FERROLB_ACTS=$${ACTS:-2} cargo test --locked -p ferrolb-core --test model --profile bench -- \
	  --ignored --nocapture --test-threads 1

soak-lab: toolchain setup
	@cargo build --locked --profile measure -p ferrolb-tests --bin lab
	@$${CARGO_TARGET_DIR:-target}/measure/lab --name soak soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
	  --report bench-results/soak.md

fuzz: toolchain
	@MINUTES=$(or $(MINUTES),60) fuzz/run

hot: toolchain setup
	speaker/hot.sh

toolchain:
	@case "$$(rustc --version)" in 'rustc $(RUST).'*) ;; *) \
	  echo "FerroLB is built with Rust $(RUST), but rustc says: $$(rustc --version 2>&1)."; \
	  echo "Install it by: rustup toolchain install $(RUST)"; exit 1;; esac
