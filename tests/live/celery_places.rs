//! Systems on Celery whose two sides use different places: another store of results, or the broker that Celery
//! uses when nothing names one.

use std::process::Command;

use crate::celery::{REPORTS, api, api_command, of_celery, program, program_in, shop};
use crate::lab::{Lab, repository, until};
use crate::stack::Stack;

/// The API and the table that is configured have Django's table of results.
fn reports(name: &str) -> Stack {
    let mut stack = shop(name);
    stack.set_all(REPORTS);
    stack
}

#[test]
fn a_result_in_another_table() {
    let mut stack = reports("other-table");
    program_in(&mut stack, "worker", "", &[("SHOP_RESULTS", "own-table")]);
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("A", "result-elsewhere", 10)
        .outcome("unknown")
        .at_least_likely()
        .sums_up("postgresql+psycopg://127.0.0.1");
}

#[test]
fn a_result_in_another_database() {
    let mut stack = reports("other-database");
    let other = shop("other-database-there");
    let url = other.database_url("lab:lab");
    program_in(&mut stack, "worker", "", &[("DATABASE_URL", &url)]);
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("A", "result-elsewhere", 10)
        .outcome("unknown")
        .at_least_likely()
        .not_certain();
}

/// What listens on Celery's default port, and where that leads.
const RELAY: &str = r#"
import socket, sys, threading
def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    sink.close()
listener = socket.create_server(("127.0.0.1", 5672))
print("relays", flush=True)
while True:
    client, _ = listener.accept()
    broker = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    for pair in ((client, broker), (broker, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"#;

/// A network in which nobody listens but on the ports of the lab: whoever is started in it can be sent nothing by
/// chance.
fn network(stack: &mut Stack) {
    let lab = Lab::get();
    let ports = ["LAB_AMQP_PORT", "LAB_MGMT_PORT", "LAB_PG_PORT"].map(|name| lab.value(name));
    let forward = repository().join("tests/live/forward.py");
    let folder = stack.dir.clone();
    let mut outside = Command::new("python3");
    outside.arg(&forward).arg("outside").arg(&folder).args(ports);
    stack.start("forward", "forward.log", outside);
    stack.until_logged("forward.log", "forwards");
    let mut inside = Command::new("unshare");
    inside.args(["--net", "python3"]).arg(&forward);
    inside.arg("inside").arg(&folder).args(ports);
    let pid = stack.start("network", "network.log", inside);
    stack.until_logged("network.log", "forwards");
    stack.network = Some(pid);
}

/// The API makes no app of the project's: first nobody listens where it sends, then another broker does.
#[test]
fn the_default_app() {
    let mut stack = shop("default-app");
    network(&mut stack);
    let mut work = program(&stack, "celery");
    work.args(["-A", "shop", "worker", "-l", "INFO"]);
    let work = stack.in_network(work);
    stack.start("worker", "worker.log", work);
    until("the worker consumes", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers > 0)
    });
    let serve = stack.in_network(api_command(&stack, "default-app", &[]));
    stack.start("api", "api.log", serve);
    stack.until_logged("api.log", "Booting worker");
    of_celery(stack.diagnose(&[])).expect("B", "api-cannot-enqueue", 10);
    let mut python = Command::new("python3");
    python.args(["-c", RELAY, Lab::get().value("LAB_AMQP_PORT")]);
    let relay = stack.in_network(python);
    stack.start("relay", "relay.log", relay);
    stack.until_logged("relay.log", "relays");
    of_celery(stack.diagnose(&[]))
        .expect("C", "default-app", 20)
        .at_least_likely()
        .not_certain()
        .sums_up("RABBITMQ_URL");
}

/// The worker is started with an app that was told of no broker: it consumes elsewhere.
#[test]
fn a_worker_on_the_default_app() {
    let mut stack = shop("default-worker");
    network(&mut stack);
    let tries = |stack: &mut Stack| {
        let mut work = program(stack, "celery");
        work.args(["worker", "-l", "INFO"]);
        let work = stack.in_network(work);
        stack.start("worker", "worker.log", work)
    };
    let serve = stack.in_network(api_command(&stack, "", &[]));
    stack.start("api", "api.log", serve);
    stack.until_logged("api.log", "Booting worker");
    let pid = tries(&mut stack);
    stack.until_logged("worker.log", "Cannot connect");
    of_celery(stack.diagnose(&[]))
        .expect("B", "worker-cannot-connect", 10)
        .sums_up("is where Celery connects when nothing tells it of a broker");
    stack.kill(pid);
}
