# One command per job; `make help` lists them. What CI runs is `make test`, and nothing else.

CARGO  ?= cargo
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
BIN     = $(TARGET)/release/fhirway

.DEFAULT_GOAL := help
.PHONY: help build run demo test fmt clippy doc mapping test-rabbitmq tools bench interop validate deploy-check clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## The program: target/release/fhirway
	$(CARGO) build --release --locked --bin fhirway

run: build ## Build and run the gateway as config/fhirway.yaml says; data in ./data, Ctrl-C ends it
	@printf '%s\n' '' \
	  'Fhirway listens on 127.0.0.1:2575 (MLLP) and delivers to the FHIR repository inside it.' \
	  '' \
	  '  send       $(BIN) send examples/messages' \
	  '  look       curl http://127.0.0.1:8090/fhir/Patient' \
	  '  queue      $(BIN) queue status' \
	  '  metrics    curl http://127.0.0.1:9464/metrics' \
	  '  settings   config/fhirway.yaml' ''
	@$(BIN) serve

demo: build ## Everything in one process with invented traffic, data in a temporary folder
	@$(BIN) demo

# What is quick to say no comes first. The tests build the program that then checks and tests the shipped maps.
test: tools fmt clippy doc ## Everything that gates a change
	$(CARGO) test --workspace --locked --no-fail-fast
	$(TARGET)/debug/fhirway mapping check
	$(TARGET)/debug/fhirway mapping test mappings

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

mapping: build ## Check and test the shipped mapping package
	$(BIN) mapping check mappings
	$(BIN) mapping test mappings

test-rabbitmq: tools ## Only the tests with a real RabbitMQ
	$(CARGO) test -p gateway --locked --test rabbitmq

tools: ## What the tests need besides Rust: RabbitMQ, PostgreSQL, Chromium (root: installed by apt-get; else it says what to install)
	@tests/rabbitmq/install
	@tests/postgres/install
	@tests/browser/install

bench: ## All benchmarks; each compares with a peer or a limit in the same run
	$(CARGO) bench -p benches --locked

interop: ## The same messages into HAPI FHIR and the embedded repository (needs JDK 17, Maven, and 280 MB of downloads once)
	@for tool in java javac mvn; do command -v $$tool >/dev/null || { echo "interop: $$tool is missing; it needs JDK 17 and Maven" >&2; exit 2; }; done
	@echo 'interop: building HAPI FHIR'"'"'s server; the first time that downloads 280 MB' >&2
	mvn -q -B -f tests/interop/pom.xml compile
	FHIRWAY_INTEROP_SERVER=$(abspath $(TARGET))/interop $(CARGO) test -p gateway --locked --test interop -- --nocapture

validate: build ## Convert CORPUS=folder and judge every Bundle with HAPI's validator (needs JDK 17, Maven, npm)
	@test -n "$(CORPUS)" || { echo 'usage: make validate CORPUS=folder' >&2; exit 2; }
	FHIRWAY=$(BIN) tests/validate-bundles "$(CORPUS)"

deploy-check: ## Check deploy/ as far as the tools for it are installed
	@deploy/check

clean: ## Remove everything that was built
	$(CARGO) clean
