//! What taskdiag hears from its guardian, and what it does when that is killed: another one takes over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

use super::child::spawn;
use super::protocol::{Answer, Reply, Request};
use super::{ENDS_WITHIN, Inner, lock, tracing, vhost};

/// So often another one stands in for one that was killed; then somebody means it.
const MOST_DEATHS: u32 = 3;

/// How a complaint ends that is none: what was to be undone still is.
const TOOK_OVER: &str = "another one took over";

/// Hands on what the guardian says, until it says no more. (Boxed: it starts itself again for the next one.)
pub(super) fn listen(stdout: ChildStdout, inner: Weak<Inner>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (Some(inner), Ok(reply)) = (inner.upgrade(), serde_json::from_str(&line)) else {
                continue;
            };
            if matches!(reply, Reply::Over) {
                break;
            }
            inner.hear(reply);
        }
        if let Some(inner) = inner.upgrade() {
            inner.gone().await;
        }
    })
}

impl Inner {
    fn hear(&self, reply: Reply) {
        match reply {
            Reply::Answer { id, answer } => {
                if let Answer::Started { pid } = answer {
                    // The number may have been another's before.
                    self.state.send_modify(|state| {
                        state.exits.remove(&pid);
                        state.lost.remove(&pid);
                        state.started.insert(pid);
                    });
                }
                if let Some(asker) = lock(&self.waiting).remove(&id) {
                    let _ = asker.send(answer);
                }
            }
            Reply::Exited { pid, exit } => self.state.send_modify(|state| {
                state.exits.insert(pid, exit);
            }),
            Reply::Blocked { pid, blocked } => self.state.send_modify(|state| {
                let all = state.blocked.entry(pid).or_default();
                // It may try again for ever.
                if !all.contains(&blocked) {
                    all.push(blocked);
                }
            }),
            Reply::Complaint { text } => self.complain(text),
            Reply::Over => {}
        }
    }
}

impl Inner {
    pub(super) fn owe(&self, request: Request) {
        let mut owed = lock(&self.owed);
        if let Request::Group { .. } = request {
            owed.retain(|known| !matches!(known, Request::Group { .. }));
        }
        owed.push(request);
    }

    fn complain(&self, text: String) {
        self.state.send_modify(|state| state.complaints.push(text));
    }

    /// It has said its last word. Unless it was told to end, something has killed it: another one takes over
    /// what is to be undone. Whatever it had started is ended by its death.
    async fn gone(self: Arc<Self>) {
        lock(&self.waiting).clear();
        if self.ending.load(Ordering::Relaxed) {
            self.state.send_modify(|state| state.over = true);
            return;
        }
        let mut process = self.process.lock().await;
        let how = match process.take() {
            // One whose pipe broke may live on, and go on undoing.
            Some(mut dead) => match tokio::time::timeout(ENDS_WITHIN, dead.child.wait()).await {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its pipe is closed".into(),
            },
            None => "it was told to end".into(),
        };
        self.state.send_modify(|state| {
            let ended = &state.exits;
            let lost: Vec<i32> = state
                .started
                .iter()
                .filter(|pid| !ended.contains_key(pid))
                .copied()
                .collect();
            state.lost.extend(lost);
        });
        let deaths = self.deaths.fetch_add(1, Ordering::Relaxed) + 1;
        let next = match deaths > MOST_DEATHS {
            true => Err("it happened again and again".into()),
            false => spawn().map_err(|error| error.to_string()),
        };
        match next {
            Ok((mut next, stdout)) => {
                let owed = lock(&self.owed).clone();
                for request in owed {
                    let id = self.next.fetch_add(1, Ordering::Relaxed);
                    let _ = next.tell(id, request).await;
                }
                *process = Some(next);
                tokio::spawn(listen(stdout, Arc::downgrade(&self)));
                self.complain(format!(
                    "the guardian of this run was ended by something else ({how}); {TOOK_OVER}"
                ));
            }
            Err(why) => {
                self.complain(format!(
                    "the guardian of this run was ended by something else ({how}), and no other could take over: {why}; if taskdiag is killed now, `taskdiag check` shows what is left behind"
                ));
                self.state.send_modify(|state| state.over = true);
            }
        }
    }

    /// Undoes it here, where no guardian is left to do it.
    pub(super) async fn undo(&self) -> Vec<String> {
        let owed = std::mem::take(&mut *lock(&self.owed));
        let mut complaints = Vec::new();
        for request in owed {
            match request {
                Request::Tracing(tracing) => {
                    if let Err(blindness) = tracing.restore(tracing::GIVE_UP).await {
                        complaints.push(tracing.complaint(&blindness.reason, false));
                    }
                }
                Request::Vhost(vhost) => {
                    if let Err(blindness) = vhost.delete(vhost::AT_ONCE).await {
                        complaints.push(vhost.complaint(&blindness.reason, false));
                    }
                }
                Request::Adopt { folder } => {
                    let _ = std::fs::remove_dir_all(folder);
                }
                Request::Last { start, .. } => complaints.push(format!(
                    "`{}` was not run\nrun it by hand: the services may still be up",
                    start.text()
                )),
                _ => {}
            }
        }
        complaints
    }
}
