//! Systems on Celery whose two sides use different places: another store of results, or the broker that Celery
//! uses when nothing names one.

use std::net::TcpListener;
use std::process::Command;

use crate::celery::{REPORTS, api, of_celery, program_in, shop, worker};
use crate::lab::Lab;
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

/// The API makes no app of the project's: first nobody listens where it sends, then another broker does.
#[test]
fn the_default_app() {
    // Whoever listens there would be sent an order.
    let default_port = TcpListener::bind(("127.0.0.1", 5672));
    default_port.expect("127.0.0.1:5672, where Celery's default app sends, is free for this test");
    let mut stack = shop("default-app");
    worker(&mut stack, "");
    api(&mut stack, "default-app");
    of_celery(stack.diagnose(&[])).expect("B", "api-cannot-enqueue", 10);
    let mut python = Command::new("python3");
    python.args(["-c", RELAY, Lab::get().value("LAB_AMQP_PORT")]);
    stack.start("relay", "relay.log", python);
    stack.until_logged("relay.log", "relays");
    of_celery(stack.diagnose(&[]))
        .expect("C", "default-app", 20)
        .at_least_likely()
        .not_certain()
        .sums_up("RABBITMQ_URL");
}
