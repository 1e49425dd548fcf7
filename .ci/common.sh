# What .ci/run and .ci/nightly share. Sourced, not run.

say() {
    printf '\nci: %s\n' "$*" >&2
}

fail() {
    printf 'ci: failed: %s\nci: next: %s\n' "$1" "$2" >&2
    exit 1
}

# step WHAT COMMAND…: says what it does and how long it took.
step() {
    local what=$1 began=$SECONDS
    shift
    say "$what: $*"
    "$@" || fail "$what (after $((SECONDS - began)) s)" "run \`$*\` by hand"
    say "$what: done in $((SECONDS - began)) s"
}

has_toolchain() {
    command -v cargo >/dev/null || fail "cargo is not installed" "install Rust: https://rustup.rs"
    cargo fmt --version >/dev/null && cargo clippy --version >/dev/null ||
        fail "rustfmt or clippy is missing" "rustup component add rustfmt clippy"
    command -v cc >/dev/null || step "C compiler" install_compiler
}

# Rust links with the system's C compiler, and one crate compiles C.
install_compiler() {
    local sudo=()
    ((EUID == 0)) || sudo=(sudo -n)
    "${sudo[@]}" apt-get update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends gcc libc6-dev
}

# cargo-deny is built from crates.io where it is missing, which takes about a minute. No advisories: their
# database is no package registry.
supply_chain() {
    { cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny; } &&
        cargo deny --locked check bans licenses sources
}

# The lab for the rest of this script; one that was up before stays up.
lab_up() {
    # Read whole: a reader that stops early would make `status` fail.
    if [[ $'\n'"$(fixtures/lab status)" =~ $'\n'rabbitmq\ +running ]]; then
        say "the lab is up already and stays up"
    else
        trap lab_down EXIT
    fi
    step "services" fixtures/lab up --services
    step "browser and collector" fixtures/lab tools
}

lab_down() {
    say "stopping the lab"
    fixtures/lab down || true
}
