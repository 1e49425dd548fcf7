//! What masking a log costs beside reading it: lines split and decoded, and the same lines masked.
//! `cargo bench --bench mask_lines`
//!
//! A million lines as workers write them; one in fifty has a word that a secret may stand beside.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use taskdiag::timeline::scrub::Scrubber;

const LINES: usize = 1_000_000;
const ROUNDS: usize = 3;

fn main() -> std::io::Result<()> {
    let lines = std::env::var("MASK_LINES")
        .ok()
        .and_then(|lines| lines.parse().ok());
    let log = log(lines.unwrap_or(LINES));
    let secrets = [
        "correct horse/battery",
        "Zk7pQ2vX9mLw4rAbC3",
        "s3cretword-of-the-database",
    ];
    let scrubber = Scrubber::new(secrets.map(SecretString::from), false);
    let read = best(|| split(&log, |line| drop(black_box(line.to_owned()))));
    let masked = best(|| split(&log, |line| drop(black_box(scrubber.outside_text(line)))));
    let lines = log.lines().count();
    let nanos = |time: Duration| time.as_nanos() / lines.max(1) as u128;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{lines} lines: read {} ns, read and masked {} ns for a line, {:.1} times as long",
        nanos(read),
        nanos(masked),
        masked.as_secs_f64() / read.as_secs_f64()
    )
}

fn best(mut run: impl FnMut()) -> Duration {
    let once = |run: &mut dyn FnMut()| {
        let began = Instant::now();
        run();
        began.elapsed()
    };
    (0..ROUNDS).map(|_| once(&mut run)).min().unwrap_or_default()
}

fn split(log: &str, mut take: impl FnMut(&str)) {
    for line in log.as_bytes().split(|byte| *byte == b'\n') {
        take(&String::from_utf8_lossy(line));
    }
}

fn log(lines: usize) -> String {
    (0..lines).fold(String::new(), |mut log, n| {
        let at = format!("[2026-01-01 00:{:02}:{:02},{:03}] [PID {}] [Thread-{}] ", n / 60 % 60, n % 60, n % 1000, 4000 + n % 4, n % 8);
        log.push_str(&at);
        log.push_str(&match n % 50 {
            0 => format!("[app] [INFO] connecting to amqp://ops:s3cr3t{n}x@rabbit:5672/%2F"),
            n if n % 5 == 1 => format!("[app.orders] [INFO] GET /api/v1/orders/{n}?page=2 200 in 12 ms"),
            n if n % 5 == 2 => format!("[app.orders] [DEBUG] SELECT id, status FROM orders WHERE id = {n} LIMIT 1"),
            n if n % 5 == 3 => format!("[dramatiq.worker.WorkerThread] [DEBUG] Received message send_email('{n}') with id '3f96a1b2-0c4d-4e5f-8a9b-00000000{n:04}'."),
            n => format!("[app.tasks] [INFO] order {n} of customer 0a1b2c3d-4e5f-6789-abcd-ef012345{n:04} is under way, 3 of 7 steps done"),
        });
        log.push('\n');
        log
    })
}
