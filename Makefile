# Two commands for a fresh machine: `make demo` and `make test`. Both need Rust 1.95 or
# newer (https://rustup.rs), a C compiler and curl; `make setup` brings the rest.

.PHONY: demo test setup build lint

## Builds, starts the service, feeds it recorded events, verifies the log.
demo: setup
	cargo build --release --locked -p auditchain-service -p auditchain-cli
	tests/demo.sh

## All tests.
test: setup
	cargo test --workspace --locked

## The compiler for WebAssembly guests; does nothing where there is one.
setup:
	@.ci/setup

build: setup
	cargo build --release --locked

## What CI checks besides the tests.
lint: setup
	.ci/lint
