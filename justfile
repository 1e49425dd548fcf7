# Every incantation of this repository. Without `just`, read it and type the line below the name.

# What there is.
default:
    @just --list

# Every test that needs no service and no browser.
quick *ARGS:
    cargo quick {{ ARGS }}

# Every test there is. The live ones bring up what they need: `just up` once is faster.
test *ARGS:
    cargo test --locked --features live {{ ARGS }}

# The live tests whose names hold PART.
live PART:
    cargo test --locked --features live --test live {{ PART }}

# What is checked before each commit.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets --features live -- -D warnings

# The check of every change, from a clean checkout.
ci:
    .ci/run

# Everything, with what takes long.
nightly:
    .ci/nightly

# RabbitMQ and PostgreSQL for the live tests, and the sample system.
up:
    fixtures/lab up

# Stop all that, and delete its data.
down:
    fixtures/lab down

# Diagnose the sample system, healthy and with FAULT.
demo FAULT="rollback":
    fixtures/lab demo {{ FAULT }}

# Write generated documents anew: docs/causes.md and the JSON Schemas.
generate:
    UPDATE=1 cargo test --locked --test catalogue --test schema

# Write down what tests/wild.rs finds: fewer known violations, higher floors.
wild:
    UPDATE=1 cargo test --locked --test wild

# Hostile input, longer than in CI.
fuzz CASES="20000":
    PROPTEST_CASES={{ CASES }} cargo test --locked --test fuzz

# Accept what the command line says now. Read the difference.
accept-cli:
    TRYCMD=overwrite cargo test --locked --test cli

# Accept what the reports say now. Read the difference.
accept-reports:
    INSTA_UPDATE=always cargo test --locked --test formats

# Make recordings in fixtures/runs anew, all or the named ones.
record *NAMES:
    cargo build --locked
    fixtures/record {{ NAMES }}

# Keep the recordings of live tests in fixtures/runs.
record-live PART:
    RECORD_RUNS=1 cargo test --locked --features live --test live {{ PART }}

# Pictures of the HTML report in FOLDER, to look at.
pictures FOLDER:
    TASKDIAG_SCREENSHOTS={{ FOLDER }} cargo test --locked --features live --test html

# Measure, and put the figures into BENCHMARKS.md.
bench:
    benches/run --write
    benches/trace --write
    benches/watch --write

# Licenses, sources and known weaknesses of what we depend on.
deny:
    cargo deny --locked check

# What `cargo publish` would publish.
package:
    cargo package --list --allow-dirty
