//! `docker-compose.yml` against the compose schema. Where a Docker engine runs, `fixtures/lab up
//! --docker` starts it for real; this test needs none.

#![allow(clippy::expect_used, clippy::panic)]

mod lab;

#[test]
fn the_compose_file_is_valid() {
    let mut python = lab::python();
    python.args(["fixtures/lab.d/validate_compose.py", "docker-compose.yml"]);
    lab::must_succeed(python);
}
