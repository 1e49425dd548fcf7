//! A release's static binary in an image that holds nothing else, beside the worker.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;

use crate::engine::{Engine, consumes};
use crate::lab::repository;
use crate::places::lasts;
use crate::stack::{Stack, words};

#[test]
#[ignore = "run by .ci/nightly: needs a static binary, which TASKDIAG_STATIC names"]
fn an_image_of_one_file_beside_the_worker() {
    let binary = std::env::var_os("TASKDIAG_STATIC").map(PathBuf::from);
    let binary = binary.expect("TASKDIAG_STATIC: what `.ci/release x86_64-unknown-linux-musl` has built");
    let mut stack = Stack::new("scratch");
    lasts(&mut stack);
    let engine = Engine::start(&mut stack);
    stack.api(&[]);
    engine.worker(&mut stack, "shop-worker", &[], &[("OPS_WORKER_FAULT", "hang")]);
    consumes(&mut stack);

    let context = stack.dir.join("image");
    fs::create_dir_all(context.join("bin")).expect("a folder");
    fs::copy(&binary, context.join("bin/taskdiag")).expect("the binary");
    fs::copy(repository().join(".ci/Dockerfile"), context.join("Dockerfile")).expect("its Dockerfile");
    let mut build = engine.docker(&["build", "--quiet", "--tag", "taskdiag"]);
    let built = build.arg(&context).env("DOCKER_BUILDKIT", "0").output();
    let built = built.expect("docker runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );

    let log = engine.words(&["logs", "-f"], "shop-worker");
    let mut logs = Command::new(&log[0]);
    logs.args(&log[1..]);
    stack.start("logs", "container.log", logs);
    for key in ["worker.exec", "worker.log_command", "containers.engine"] {
        stack.unset(key);
    }
    stack.set("worker.log", words(&["container.log"]));
    let config = stack.write_config().display().to_string();
    let folder = format!("{0}:{0}:ro", stack.dir.display());
    let output = engine
        .docker(&["run", "--rm", "--pid", "container:shop-worker"])
        .args(["--network", "container:shop-worker", "-v", &folder])
        .args(["taskdiag", "diagnose", "--config", &config])
        .args(["--format", "json", "--forget"])
        .output()
        .expect("docker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{said}", String::from_utf8_lossy(&output.stdout)));
    let cause = &report["cause"];
    assert_eq!(cause["id"], "actor-still-running", "{cause:#}{said}");
    let summary = cause["summary"].as_str().expect("a summary");
    assert!(summary.contains("block_in_c"), "{summary}{said}");
    engine.run(&["rm", "--force", "shop-worker"]);
}
