//! taskdiag, its guardian, or both are ended in whatever order, by whatever signal, at whatever moment.

use std::thread::sleep;
use std::time::Duration;

use crate::isolate::{ROOM, left, startable};
use crate::lab::{Lab, signal, until};
use crate::promises::{child_of, guardian_of, long_run};
use crate::stack::Stack;
use crate::verdict::Running;

const SIGNALS: [&str; 5] = ["KILL", "TERM", "INT", "HUP", "SEGV"];

/// Numbers that are the same each time (the constants of PCG).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

/// (Rust's runtime takes the first SIGSEGV for a fault of its own, which would come again at once.)
fn strike(name: &str, pid: u32) {
    for _ in 0..if name == "SEGV" { 2 } else { 1 } {
        if lives(pid) {
            signal(name, pid);
            sleep(Duration::from_millis(20));
        }
    }
}

/// What this run made at the broker and did not remove.
fn left_at_the_broker(stack: &Stack) -> Vec<String> {
    let mut found = Vec::new();
    if stack.traces() {
        found.push("tracing".to_owned());
    }
    let (status, queues) = Lab::get().ask("GET", &format!("queues/{}?columns=name", stack.id), None);
    assert_eq!(status, 200);
    let names = queues
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|queue| queue["name"].as_str());
    found.extend(
        names
            .filter(|name| name.starts_with("taskdiag"))
            .map(str::to_owned),
    );
    found
}

/// Ends what is to be ended, and sees to it that the run is over.
fn end_some(random: &mut Random, running: &mut Running, done: &mut String) {
    let guardian = guardian_of(running);
    let me = running.pid();
    let victims = match (random.below(4), guardian) {
        (0, _) | (_, None) => vec![me],
        (1, Some(guardian)) => vec![guardian],
        (2, Some(guardian)) => vec![me, guardian],
        (_, Some(guardian)) => vec![guardian, me],
    };
    for victim in victims {
        let name = SIGNALS[random.below(SIGNALS.len())];
        done.push_str(&format!(
            " {name} to {}",
            if victim == me { "taskdiag" } else { "the guardian" }
        ));
        strike(name, victim);
        sleep(Duration::from_millis(random.below(400) as u64));
    }
    if running.has_ended() {
        return;
    }
    sleep(Duration::from_millis(random.below(1500) as u64));
    let name = ["INT", "TERM", "KILL"][random.below(3)];
    done.push_str(&format!(" and {name} to taskdiag"));
    if !running.has_ended() {
        signal(name, running.pid());
    }
}

/// One round; `true`: nothing was left. What is left has to be named by `check`.
fn round(stack: &mut Stack, random: &mut Random, isolate: bool, round: u64) -> bool {
    let before = stack.vhost();
    let arguments: &[&str] = if isolate { &["--isolate"] } else { &[] };
    let mut running = stack.start_diagnose(arguments);
    let mut done = format!("round {round}:");
    match isolate && random.below(3) > 0 {
        true => until("the fresh worker's vhost is made", || {
            running.has_ended() || left(stack).iter().any(|what| what.starts_with("vhost"))
        }),
        false => until("a guardian stands by", || {
            running.has_ended() || guardian_of(&running).is_some()
        }),
    }
    sleep(Duration::from_millis(
        random.below(if isolate { 3000 } else { 1200 }) as u64,
    ));
    end_some(random, &mut running, &mut done);
    running.wait();
    let mut all = Vec::new();
    let nothing = (0..60).any(|_| {
        sleep(Duration::from_millis(250));
        all = left_at_the_broker(stack);
        if isolate {
            all.extend(left(stack));
        }
        all.is_empty() && stack.vhost() == before
    });
    if nothing {
        return true;
    }
    // What is younger than a minute may belong to a run that goes on.
    until(&format!("{done}: check names {all:?}"), || {
        sleep(Duration::from_secs(2));
        let output = stack
            .taskdiag("check")
            .arg("--config")
            .arg(stack.write_config())
            .output();
        let said = output.expect("taskdiag runs").stdout;
        let said = String::from_utf8_lossy(&said);
        // A process ends by itself, or its vhost is named as used.
        let named = all.iter().filter(|what| !what.starts_with("process"));
        named
            .map(|what| what.split_once(' ').map_or(what.as_str(), |(_, name)| name))
            .all(|name| said.contains(name))
    });
    assert!(
        !all.is_empty(),
        "{done}: the vhost is another: {} {}",
        before,
        stack.vhost()
    );
    // Only where both were killed, and the guardian itself.
    assert!(done.contains("to the guardian"), "{done}: {all:?} is left");
    eprintln!("{done}: named by check: {}", all.join(", "));
    clean(stack, &all);
    false
}

fn clean(stack: &Stack, left: &[String]) {
    for what in left {
        match what.split_once(' ') {
            Some(("process", pid)) => signal("KILL", pid),
            Some((kind, name)) => drop(Lab::get().ask("DELETE", &format!("{kind}s/{name}"), None)),
            None => {
                let restored = stack
                    .taskdiag("check")
                    .args(["--restore-tracing", "--config"])
                    .arg(stack.write_config())
                    .output();
                assert!(restored.is_ok() && !stack.traces(), "{what}");
            }
        }
    }
}

fn rounds(name: &str, seed: u64, count: u64, isolate: bool) {
    let _alone = isolate.then(|| ROOM.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let mut stack = long_run(name);
    if isolate {
        stack.set("timing.silence", "2s");
        startable(&mut stack);
    }
    let mut random = Random(seed);
    let clean = (0..count)
        .filter(|at| round(&mut stack, &mut random, isolate, *at))
        .count();
    eprintln!("{name}: nothing left after {clean} of {count} rounds");
}

#[test]
fn whoever_dies_first_nothing_stays() {
    rounds("deaths", 7, 4, false);
}

#[test]
#[ignore = "run by .ci/nightly"]
fn many_deaths_leave_nothing() {
    rounds("many-deaths", 11, 40, false);
    rounds("isolated-deaths", 13, 20, true);
}

/// Passwords are in the memory of both.
#[test]
fn no_core_is_dumped() {
    let stack = long_run("core");
    let config = stack.write_config();
    for name in ["ABRT", "SEGV"] {
        for of_guardian in [false, true] {
            let inner = stack.taskdiag("trace");
            let mut taskdiag = std::process::Command::new("bash")
                .args([
                    "-c",
                    "ulimit -c unlimited; exec \"$0\" trace --for 60s --config \"$1\"",
                ])
                .arg(inner.get_program())
                .arg(&config)
                .env("XDG_STATE_HOME", &stack.state)
                .current_dir(&stack.dir)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("it starts");
            until("tracing is on", || stack.traces());
            let guardian = child_of(taskdiag.id()).expect("a guardian");
            strike(name, if of_guardian { guardian } else { taskdiag.id() });
            if of_guardian {
                until("it is gone", || !lives(guardian));
                signal("INT", taskdiag.id());
            }
            taskdiag.wait().expect("its status");
            until("tracing is off again", || !stack.traces());
            for folder in [stack.dir.as_path(), "/".as_ref()] {
                let cores = std::fs::read_dir(folder).expect("a folder").flatten();
                let cores: Vec<_> = cores
                    .filter(|entry| {
                        let file = entry.file_name();
                        let pid = if of_guardian { guardian } else { taskdiag.id() };
                        file == "core" || file.to_string_lossy() == format!("core.{pid}")
                    })
                    .collect();
                assert!(cores.is_empty(), "{name}: {cores:?}");
            }
        }
    }
}
