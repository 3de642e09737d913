# What one does here often; `just --list` shows it.

# Format, lint, test.
default: format lint test

# The main job, to watch.
outage:
    cargo run --release --example outage

test:
    cargo test --workspace --release --all-features

# With the long versions: a million points, minutes of outage, fifty kills.
test-slow:
    RUN_SLOW_TESTS=1 cargo test --workspace --release --all-features

lint:
    cargo clippy --workspace --release --all-features --all-targets -- -D warnings

format:
    cargo fmt --all

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --all-features --no-deps --open

bench:
    cargo bench --all-features

# Beside what others would use instead: benches/README.md.
versus *options:
    benches/versus/run {{options}}

# Everything that has to pass before a change goes in.
ci:
    .ci/run
