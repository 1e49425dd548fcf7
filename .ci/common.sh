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

# The live tests have a lab of their own: which RabbitMQ runs in it changes. What it installs stays for the next run.
export TASKDIAG_LAB=${TASKDIAG_LAB:-${TMPDIR:-/tmp}/taskdiag-ci-$(id -u)}

# The oldest and the newest RabbitMQ that Debian has, and one between.
RABBITMQ_OLDEST=3.10
RABBITMQ_MIDDLE=4.0
RABBITMQ_NEWEST=4.3

# The half of the live tests that runs on the oldest as well with every change: what a broker of another age may answer
# otherwise. All of them do at night.
BROKER_TESTS=(
    billing:: blind:: cluster:: deaths:: delivered:: entered:: finished:: isolate:: limits:: promises:: published::
    shapes:: submitted:: succeeded:: tls:: watch::
)

# An older Celery than that of the sample system, and the live tests that run with it with every change; at night all
# of Celery's do, on the oldest and on the newest broker.
CELERY_OLDER=5.4
CELERY_TESTS=(
    celery::actor_raised celery::revoked celery::unknown_task celery::waiting_in_worker
    celery_control::asking_changes_nothing
)

# with_older_celery TEST…: those of delays at the broker are left out, which Celery has from 5.5 on.
with_older_celery() {
    TASKDIAG_LAB_CELERY=$CELERY_OLDER cargo test --locked --features live --test live -- "$@" \
        --skip at_the_broker --skip delay_queue_stuck
}

# lab_up VERSION: the lab with this RabbitMQ, for what follows and for the tests that bring it up.
lab_up() {
    trap lab_down EXIT
    fixtures/lab down
    export TASKDIAG_LAB_RABBITMQ=$1
    step "services with RabbitMQ $1" fixtures/lab up --services
    step "browser, collector and container engine" fixtures/lab tools
}

lab_down() {
    say "stopping the lab"
    fixtures/lab down || true
}

# tested COMMAND…: `cargo test …`, not ended by the first target that fails. Up to three live tests that fail are run once more,
# alone: they depend on how fast a busy machine is. What fails twice has failed, and so has whatever named a false cause as certain.
tested() {
    local log result=0 tests
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || result=$?
    if ((result != 0)); then
        digest "$log"
        mapfile -t tests < <(failed_tests "$log")
        if ((${#tests[@]} >= 1 && ${#tests[@]} <= 3)) && fails_only_live "$log" "${#tests[@]}" && ! grep -q "CERTAIN AND FALSE" "$log"; then
            say "failed once, and run again alone: ${tests[*]}"
            result=0
            cargo test --locked --features live --test live -- --exact --test-threads 1 "${tests[@]}" || result=$?
        fi
    fi
    rm -f "$log"
    ((result == 0)) || fail "tests" "run \`$*\` by hand"
}

failed_tests() {
    sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$1"
}

# fails_only_live LOG COUNT: cargo lists at the end which targets failed, and a target that ran to its end how many
# tests: one that was aborted has run no further.
fails_only_live() {
    [[ $(sed -n 's/^ *`\(-.*\)`$/\1/p' "$1") == "--test live" ]] && grep -q "^test result: FAILED\..* $2 failed;" "$1"
}

# What each failed test said first: the whole is long, and its end is what is seen of it.
digest() {
    awk '/^---- .* stdout ----$/ { left = 9 } left > 0 { print "ci: " substr($0, 1, 400); left-- }' "$1" >&2
}
