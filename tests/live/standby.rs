//! The row is read from a standby: what it does not show yet has not failed to happen.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::lab::{Lab, repository, run, until};
use crate::stack::Stack;
use crate::system::with_worker;
use crate::verdict::Verdict;
use crate::worker::healthy;

/// A standby of the lab's server, until this is dropped.
struct Standby {
    port: String,
    input: Option<ChildStdin>,
    script: Child,
}

impl Standby {
    fn up() -> Self {
        Lab::get();
        let mut script = Command::new(repository().join("fixtures/lab"))
            .arg("standby")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("fixtures/lab runs");
        let answers = BufReader::new(script.stdout.take().expect("its output"));
        let lines: Vec<String> = answers.lines().map_while(Result::ok).take(2).collect();
        assert_eq!(lines.last().map(String::as_str), Some("ready"), "{lines:?}");
        let port = lines[0].strip_prefix("LAB_STANDBY_PORT=").expect("a port");
        Self {
            port: port.to_owned(),
            input: script.stdin.take(),
            script,
        }
    }

    fn execute(&self, sql: &'static str) {
        let url = format!("postgres://lab:lab@127.0.0.1:{}/postgres", self.port);
        run(async {
            let mut standby = PgConnection::connect(&url).await.expect("the standby accepts us");
            standby.execute(sql).await.expect(sql);
        });
    }

    /// What taskdiag says of a task of this stack when it reads the row here.
    fn diagnose(&self, stack: &mut Stack) -> Verdict {
        let url = format!("postgres://lab:lab@127.0.0.1:{}/{}", self.port, stack.id);
        // The stack's table has just been made, and comes here a moment later.
        until("the standby has the stack's table", || {
            run(async {
                let Ok(mut standby) = PgConnection::connect(&url).await else {
                    return false;
                };
                standby.execute("SELECT FROM task LIMIT 1").await.is_ok()
            })
        });
        stack.set("database.url", url);
        stack.diagnose(&[])
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.script.wait();
    }
}

#[test]
fn a_standby_that_follows_shows_a_success() {
    let standby = Standby::up();
    let mut stack = with_worker("standby", healthy());
    standby.diagnose(&mut stack).expect("A", "succeeded", 0);
}

/// Its replay stands still: the row never comes, and is in the primary all the time.
#[test]
fn a_standby_that_lags_concludes_nothing() {
    let standby = Standby::up();
    let mut stack = with_worker("standby-lags", healthy());
    // The row's table is there before.
    standby.diagnose(&mut stack).expect("A", "succeeded", 0);
    standby.execute("SELECT pg_wal_replay_pause()");
    let verdict = standby.diagnose(&mut stack).not_certain().says("standby");
    assert_eq!(verdict.code(), Some(30), "{}", verdict.explain());
}
