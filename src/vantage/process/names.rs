//! Who is at the other end of a connection: asked once for each, answered by a thread of its own.
//!
//! A walk through `/proc` takes milliseconds, and one event must not wait for it longer than that.
//! Answers are kept, and asked for anew after a while: a port may come to belong to another process.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::timeline::scrub::Scrubber;
use crate::trace::PeerProcess;

/// After so long an answer is asked for again, while the old one is still given.
const FRESH: Duration = Duration::from_secs(10);
/// Between two walks: many short connections must not keep a core busy.
const PAUSE: Duration = Duration::from_millis(20);
/// Connections that are remembered.
const MOST: usize = 10_000;

#[derive(Default)]
struct Answer {
    who: Option<Arc<PeerProcess>>,
    /// None until the first answer is there.
    at: Option<Instant>,
    asked: bool,
    waited: bool,
}

impl Answer {
    fn is_awaited(&self) -> bool {
        self.at.is_none() && !self.waited
    }
}

#[derive(Default)]
struct Known {
    answers: Mutex<HashMap<String, Answer>>,
    answered: Condvar,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of processes by connection. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub struct Names {
    known: Arc<Known>,
    asks: Sender<String>,
}

impl Names {
    /// Command lines are shown without what the scrubber knows to be secret.
    pub fn start(scrubber: Scrubber) -> Self {
        let known = Arc::new(Known::default());
        let (asks, asked) = mpsc::channel();
        let names = Self {
            known: known.clone(),
            asks,
        };
        // Where no thread can be had, connections keep their own names.
        let _ = std::thread::Builder::new()
            .name("names".into())
            .spawn(move || answer(&known, &asked, &scrubber));
        names
    }

    /// Asks in advance, as soon as a connection is heard of: it may be gone in a moment.
    pub fn hear(&self, connection: &str) {
        // The broker's own are Erlang pids.
        if connection.starts_with('<') {
            return;
        }
        let mut answers = self.known.lock();
        match answers.get_mut(connection) {
            Some(answer) => {
                if !answer.asked && answer.at.is_some_and(|at| at.elapsed() > FRESH) {
                    answer.asked = true;
                    let _ = self.asks.send(connection.to_owned());
                }
            }
            None => {
                if answers.len() >= MOST {
                    answers.clear();
                }
                answers.insert(
                    connection.to_owned(),
                    Answer {
                        asked: true,
                        ..Answer::default()
                    },
                );
                let _ = self.asks.send(connection.to_owned());
            }
        }
    }

    /// Asked for, and neither answered nor waited for in vain.
    pub fn is_awaited(&self, connection: &str) -> bool {
        self.known.lock().get(connection).is_some_and(Answer::is_awaited)
    }

    /// Who it is, if that is known within `patience`. Nobody waits for the same answer twice.
    pub fn of(&self, connection: &str, patience: Duration) -> Option<Arc<PeerProcess>> {
        let mut answers = self.known.lock();
        if !patience.is_zero() && answers.get(connection).is_some_and(Answer::is_awaited) {
            let waited = self
                .known
                .answered
                .wait_timeout_while(answers, patience, |answers| {
                    answers.get(connection).is_some_and(Answer::is_awaited)
                });
            answers = waited.unwrap_or_else(PoisonError::into_inner).0;
            answers.get_mut(connection)?.waited = true;
        }
        answers.get(connection)?.who.clone()
    }
}

fn answer(known: &Known, asked: &Receiver<String>, scrubber: &Scrubber) {
    loop {
        let first = match asked.recv_timeout(Duration::from_secs(3600)) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut connections = vec![first];
        connections.extend(asked.try_iter());
        let mut found = super::peers::peers_without(&connections, scrubber);
        let now = Instant::now();
        let mut answers = known.lock();
        for connection in connections {
            let who = found.remove(&connection).map(Arc::new);
            answers.insert(
                connection,
                Answer {
                    who,
                    at: Some(now),
                    ..Answer::default()
                },
            );
        }
        drop(answers);
        known.answered.notify_all();
        std::thread::sleep(PAUSE);
    }
}
