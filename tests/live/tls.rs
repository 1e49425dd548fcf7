//! RabbitMQ behind TLS: `amqps://` with a certificate of a private authority, `https://` with one that signed itself.

use std::fs;

use crate::lab::{Lab, signal, until};
use crate::promises::long_run;
use crate::stack::Stack;
use crate::verdict::Verdict;
use crate::worker::{Worker, fault, healthy};

/// `broker.amqp_url` and `broker.management_url` lead to the TLS listeners, and `ca_file` holds both certificates.
fn behind_tls(name: &str) -> Stack {
    let mut stack = Stack::new(name);
    to_tls(&mut stack, "127.0.0.1");
    stack
}

fn to_tls(stack: &mut Stack, host: &str) {
    let lab = Lab::get();
    let pem = ["LAB_CA_FILE", "LAB_OWN_CA_FILE"]
        .map(|name| fs::read_to_string(lab.value(name)).expect("a certificate"));
    let ca_file = stack.dir.join("ca.pem");
    fs::write(&ca_file, pem.concat()).expect("a file");
    stack.set("broker.ca_file", ca_file.display().to_string());
    stack.set(
        "broker.amqp_url",
        format!(
            "amqps://lab:lab@{host}:{}/{}",
            lab.value("LAB_AMQPS_PORT"),
            stack.id
        ),
    );
    stack.set(
        "broker.management_url",
        format!("https://lab:lab@{host}:{}", lab.value("LAB_MGMT_TLS_PORT")),
    );
}

/// The address as pika takes it.
fn url_for_python(stack: &Stack) -> String {
    let lab = Lab::get();
    format!(
        "amqps://lab:lab@127.0.0.1:{}/{}?ssl_options=%7B%27ca_certs%27%3A%27{}%27%7D",
        lab.value("LAB_AMQPS_PORT"),
        stack.id,
        lab.value("LAB_CA_FILE")
    )
}

const EYES: &[&str] = &["management", "queue", "firehose"];

#[test]
fn all_of_it_over_tls() {
    let mut stack = behind_tls("tls");
    let url = url_for_python(&stack);
    stack.worker(healthy().env("RABBITMQ_URL", &url));
    stack.api(&[("RABBITMQ_URL", &url)]);
    stack.diagnose(&[]).expect("A", "succeeded", 0).sees(EYES);
}

/// The same broker by two doors: nobody is at another one.
fn one_door_each(name: &str, worker: Worker, over_tls: bool) -> Verdict {
    let mut stack = behind_tls(name);
    let url = url_for_python(&stack);
    let worker = if over_tls {
        worker.env("RABBITMQ_URL", &url)
    } else {
        worker
    };
    stack.worker(worker);
    stack.api(&[]);
    stack.diagnose(&[])
}

#[test]
fn the_application_without_tls() {
    one_door_each("tls-plain", healthy(), false)
        .expect("A", "succeeded", 0)
        .sees(EYES);
}

#[test]
fn the_worker_alone_over_tls() {
    one_door_each("tls-worker", fault("raise"), true)
        .expect("A", "actor-raised", 10)
        .sees(EYES);
}

#[test]
fn nobody_consumes_over_tls() {
    let mut stack = behind_tls("tls-nobody");
    stack.api(&[]);
    stack.diagnose(&[]).expect("C", "no-consumer", 20).sees(EYES);
}

/// The guardian speaks TLS as the run did.
#[test]
fn tracing_is_put_back_over_tls() {
    let mut stack = long_run("tls-kill");
    to_tls(&mut stack, "127.0.0.1");
    let before = stack.vhost();
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    signal("KILL", running.pid());
    running.wait();
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

fn checked(stack: &Stack) -> (Option<i32>, String) {
    let output = stack
        .taskdiag("check")
        .arg("--config")
        .arg(stack.write_config())
        .output()
        .expect("taskdiag runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

/// Without the authority, under a name that no certificate has, and with the doors taken for one another: what is
/// wrong, and the key that mends it.
#[test]
fn a_certificate_that_is_not_trusted_is_told_in_words() {
    let mut stack = behind_tls("tls-refused");
    let (code, said) = checked(&stack);
    assert!(
        !said.contains("ca_file"),
        "with it all is well, exit {code:?}: {said}"
    );

    to_tls(&mut stack, "localhost");
    let (code, said) = checked(&stack);
    assert_eq!(code, Some(30), "{said}");
    assert!(said.contains("localhost"), "the name that was asked for: {said}");
    assert!(said.contains("127.0.0.1"), "the name that it has: {said}");

    to_tls(&mut stack, "127.0.0.1");
    let lab = Lab::get();
    stack.set("broker.ca_file", lab.value("LAB_OWN_CA_FILE").to_owned());
    let (code, said) = checked(&stack);
    assert_eq!(
        code,
        Some(30),
        "the authority of AMQP's certificate is missing: {said}"
    );
    assert!(said.contains("broker.ca_file"), "{said}");

    to_tls(&mut stack, "127.0.0.1");
    stack.set(
        "broker.amqp_url",
        format!("amqps://lab:lab@{}/{}", lab.amqp(), stack.id),
    );
    let (code, said) = checked(&stack);
    assert_eq!(code, Some(30), "no TLS at that port: {said}");
    assert!(said.contains("does not speak TLS"), "{said}");

    stack.set(
        "broker.amqp_url",
        format!(
            "amqp://lab:lab@127.0.0.1:{}/{}",
            lab.value("LAB_AMQPS_PORT"),
            stack.id
        ),
    );
    let (code, said) = checked(&stack);
    assert_eq!(code, Some(30), "TLS at that port: {said}");
    assert!(said.contains("amqps://"), "{said}");
}
