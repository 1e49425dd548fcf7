//! Outlives a killed taskdiag and undoes what it had switched on: the tracing of a vhost.
//!
//! The guardian is taskdiag executed again, in a session of its own, so that neither Ctrl-C nor
//! the death of its parent reaches it. It is told what to restore over its standard input, never
//! in its arguments, because credentials are among it; the end of that pipe, however it comes, is
//! the signal to restore. One path for every exit: normal, Ctrl-C, panic and `kill -9`.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::config::{Broker, SecretUrl, Tls};
use crate::vantage::Blindness;
use crate::vantage::http::{Management, segment};

/// The hidden first argument that makes taskdiag a guardian.
pub const ARGUMENT: &str = "__guardian";
const GIVE_UP: Duration = Duration::from_secs(20);

/// What the guardian must know, over its pipe.
#[derive(Serialize, Deserialize)]
struct Task {
    management_url: String,
    ca_file: Option<std::path::PathBuf>,
    client_cert: Option<std::path::PathBuf>,
    client_key: Option<std::path::PathBuf>,
    vhost: String,
    /// Our own reader; it goes with our connection.
    queue: String,
}

/// A running guardian. Dropping it makes it restore as well: its pipe closes.
pub struct Guardian {
    child: Child,
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts the guardian and waits until it stands ready.
    pub async fn start(broker: &Broker, queue: &str) -> Result<Self, Blindness> {
        let failed = |error: std::io::Error| {
            Blindness::new(format!(
                "cannot start the guardian that would restore tracing: {error}"
            ))
            .hint("tracing stays untouched; set trace = \"off\" to silence this")
        };
        // The running program itself, even if its file was replaced by an upgrade meanwhile.
        let program = if cfg!(target_os = "linux") {
            std::path::PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().map_err(failed)?
        };
        let mut command = Command::new(program);
        command
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env_clear()
            .current_dir("/");
        new_session(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let task = Task {
            management_url: broker.management.expose().to_owned(),
            ca_file: broker.tls.ca_file.clone(),
            client_cert: broker.tls.client_cert.clone(),
            client_key: broker.tls.client_key.clone(),
            vhost: broker.vhost.clone(),
            queue: queue.to_owned(),
        };
        let gone = || failed(std::io::Error::other("it closed its pipe"));
        let mut pipe = child.stdin.take().ok_or_else(gone)?;
        let mut line = serde_json::to_string(&task).unwrap_or_default();
        line.push('\n');
        pipe.write_all(line.as_bytes()).await.map_err(failed)?;
        let mut answer = String::new();
        let stdout = child.stdout.as_mut().ok_or_else(gone)?;
        let mut reader = BufReader::with_capacity(1, stdout);
        match tokio::time::timeout(Duration::from_secs(5), reader.read_line(&mut answer)).await {
            Ok(Ok(_)) if answer.trim() == "ready" => Ok(Self { child, pipe }),
            _ => Err(gone()),
        }
    }

    /// Lets it restore now and waits for the result: a complaint if it could not.
    pub async fn restore(self) -> Option<String> {
        let Self { mut child, pipe } = self;
        drop(pipe);
        let mut said = String::new();
        let reading = async {
            if let Some(stdout) = child.stdout.as_mut() {
                let _ = stdout.read_to_string(&mut said).await;
            }
            let _ = child.wait().await;
        };
        if tokio::time::timeout(GIVE_UP, reading).await.is_err() {
            return Some("the guardian is still trying to switch tracing off; `taskdiag check` tells whether it succeeded".into());
        }
        said.lines()
            .find_map(|line| line.strip_prefix("failed: ").map(str::to_owned))
    }
}

/// A session of its own: signals to our process group do not reach it.
#[allow(unsafe_code)]
fn new_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The guardian's own life: read the task, wait for the pipe's end, restore.
#[allow(unsafe_code)]
pub fn main() -> u8 {
    // SAFETY: ignoring signals before any thread exists.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return crate::error::exit::COULD_NOT;
    };
    runtime.block_on(async {
        let mut input = BufReader::new(tokio::io::stdin());
        let mut line = String::new();
        if input.read_line(&mut line).await.is_err() {
            return crate::error::exit::COULD_NOT;
        }
        let Ok(task) = serde_json::from_str::<Task>(&line) else {
            return crate::error::exit::COULD_NOT;
        };
        say("ready").await;
        let mut rest = Vec::new();
        let _ = input.read_to_end(&mut rest).await;
        match restore(&task).await {
            Ok(done) => {
                say(done).await;
                crate::error::exit::OK
            }
            Err(blindness) => {
                say(&format!("failed: {}", blindness.reason)).await;
                crate::error::exit::COULD_NOT
            }
        }
    })
}

async fn say(text: &str) {
    let mut out = tokio::io::stdout();
    let _ = out.write_all(format!("{text}\n").as_bytes()).await;
    let _ = out.flush().await;
}

async fn restore(task: &Task) -> Result<&'static str, Blindness> {
    let tls = Tls {
        ca_file: task.ca_file.clone(),
        client_cert: task.client_cert.clone(),
        client_key: task.client_key.clone(),
    };
    let management = Management::from_parts(SecretUrl::from_text(&task.management_url), &tls)?;
    let deadline = tokio::time::Instant::now() + GIVE_UP - Duration::from_secs(2);
    loop {
        let outcome = try_restore(&management, task).await;
        match outcome {
            Ok(Some(done)) => return Ok(done),
            Ok(None) if tokio::time::Instant::now() < deadline => {}
            Err(_) if tokio::time::Instant::now() < deadline => {}
            Ok(None) => return Ok("left on: our reader's queue is still there"),
            Err(blindness) => return Err(blindness),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `None` while our own queue still exists: the broker has not noticed our end yet.
async fn try_restore(management: &Management, task: &Task) -> Result<Option<&'static str>, Blindness> {
    let readers = Tracing::readers(management, &task.vhost).await?;
    if readers.contains(&task.queue) {
        return Ok(None);
    }
    if !readers.is_empty() {
        // Whoever is left reads on; a taskdiag among them switches it off when it ends.
        return Ok(Some("left on: others read it"));
    }
    Tracing::set(management, &task.vhost, false).await?;
    Ok(Some("restored"))
}

/// A vhost's tracing, switched without touching anything else of the vhost.
pub struct Tracing;

impl Tracing {
    /// Readers with this prefix read a tracing that a taskdiag switched on.
    pub const OWNED: &'static str = "taskdiag.trace.owned.";
    /// Readers with this prefix found it on.
    pub const GUEST: &'static str = "taskdiag.trace.guest.";

    /// Names of the queues bound to the trace exchange.
    pub async fn readers(management: &Management, vhost: &str) -> Result<Vec<String>, Blindness> {
        let path = format!(
            "exchanges/{}/{}/bindings/source",
            segment(vhost),
            crate::vantage::TRACE_EXCHANGE
        );
        let bindings = management.get(&path).await?;
        let mut names: Vec<String> = bindings
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|binding| {
                binding
                    .get("destination")
                    .and_then(Json::as_str)
                    .map(str::to_owned)
            })
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// A bare `{"tracing": …}` erases the vhost's description and tags, and on 4.3 its default
    /// queue type: everything is read first and sent back with it.
    pub async fn set(management: &Management, vhost: &str, on: bool) -> Result<(), Blindness> {
        let path = format!("vhosts/{}", segment(vhost));
        let now = management.get(&path).await?;
        if now.get("tracing").and_then(Json::as_bool) == Some(on) {
            return Ok(());
        }
        management.put(&path, &preserving(&now, on)).await
    }
}

fn preserving(vhost: &Json, on: bool) -> Json {
    let mut body = json!({ "tracing": on });
    let metadata = |key: &str| {
        vhost
            .get(key)
            .filter(|value| !value.is_null())
            .or_else(|| vhost.pointer(&format!("/metadata/{key}")))
            .cloned()
    };
    if let Some(description) = metadata("description") {
        body["description"] = description;
    }
    match metadata("tags") {
        Some(Json::Array(tags)) => {
            let tags: Vec<_> = tags.iter().filter_map(Json::as_str).collect();
            body["tags"] = json!(tags.join(","));
        }
        Some(Json::String(tags)) => body["tags"] = json!(tags),
        _ => {}
    }
    if let Some(Json::String(kind)) = metadata("default_queue_type")
        && kind != "undefined"
    {
        body["default_queue_type"] = json!(kind);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_of_a_vhost_is_sent_back() {
        let vhost = json!({"name": "v", "description": "d", "tags": ["a", "b"], "default_queue_type": "quorum", "tracing": false});
        assert_eq!(
            preserving(&vhost, true),
            json!({"tracing": true, "description": "d", "tags": "a,b", "default_queue_type": "quorum"})
        );
        let old = json!({"name": "v", "metadata": {"description": "d", "tags": []}, "default_queue_type": "undefined", "tracing": true});
        assert_eq!(
            preserving(&old, false),
            json!({"tracing": false, "description": "d", "tags": ""})
        );
    }
}
