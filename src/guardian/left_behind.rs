//! What a guardian that was killed itself (with its machine, or its container) could not undo.
//!
//! Looked for by `check`, which removes nothing: a run on another machine may be using it, and a
//! deleted vhost does not come back. Exclusive queues go with their connection; tracing that is left
//! on is seen by the management source.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value as Json;

use super::trim;
use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::timeline::scrub::printable_line;
use crate::units::{bytes, seconds};

/// Vhosts that `diagnose --isolate` makes are called so.
pub const VHOST: &str = "taskdiag.isolate.";
/// Folders for the logs of what was started.
pub(super) const FOLDER: &str = "taskdiag-";

/// So old is what a run may just be making, or removing.
const FRESH: Duration = Duration::from_secs(60);

/// One thing that nobody will remove by himself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// `vhost`, `user` or `folder`.
    pub kind: &'static str,
    pub name: String,
    /// What is known of it.
    pub seen: String,
    /// The command that removes it.
    pub remove: String,
}

/// On the broker: every vhost of ours that nobody uses, as far as this user may see vhosts.
pub async fn vhosts(broker: &Broker) -> Result<Vec<LeftBehind>, Unavailable> {
    let management = Management::new(broker)?;
    let all = management
        .get("vhosts?columns=name,description,metadata.description")
        .await?;
    let mut found = Vec::new();
    for vhost in all.as_array().into_iter().flatten() {
        let name = vhost.get("name").and_then(Json::as_str).unwrap_or_default();
        if !is_ours(name) {
            continue;
        }
        let connections = management
            .get(&format!("vhosts/{}/connections", segment(name)))
            .await
            .ok()
            .and_then(|list| list.as_array().map(Vec::len));
        let age = made(vhost).and_then(|made| SystemTime::now().duration_since(made).ok());
        if age.is_some_and(|age| age < FRESH) {
            continue;
        }
        let age = age.map_or_else(String::new, |age| format!("made {} ago; ", seconds(age)));
        let used = match connections {
            Some(0) => "nobody is connected to it".to_owned(),
            Some(count) => format!(
                "{count} connection(s) are open to it: a diagnose --isolate that still runs somewhere, or the worker that it left"
            ),
            None => "whether anybody uses it could not be seen".to_owned(),
        };
        found.push(LeftBehind {
            kind: "vhost",
            name: name.to_owned(),
            seen: format!("{age}{used}"),
            remove: format!("rabbitmqctl delete_vhost {name}; rabbitmqctl delete_user {name}"),
        });
    }
    found.extend(users(&management, all.as_array().map_or(&[][..], Vec::as_slice)).await);
    Ok(found)
}

/// A guardian deletes the vhost first: one that was killed in between leaves its user.
async fn users(management: &Management, vhosts: &[Json]) -> Vec<LeftBehind> {
    let name = |one: &Json| one.get("name").and_then(Json::as_str).map(str::to_owned);
    let vhosts: Vec<String> = vhosts.iter().filter_map(name).collect();
    let users = management.get("users?columns=name").await.unwrap_or_default();
    let users = users.as_array().into_iter().flatten().filter_map(name);
    users
        .filter(|user| is_ours(user) && !vhosts.contains(user))
        .map(|name| LeftBehind {
            kind: "user",
            seen: "the vhost that it was made for is gone".into(),
            remove: format!("rabbitmqctl delete_user {name}"),
            name,
        })
        .collect()
}

/// Nothing but a name that we give: it goes into a command that somebody may copy.
fn is_ours(vhost: &str) -> bool {
    vhost.strip_prefix(VHOST).is_some_and(is_id)
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The description of a vhost that is made now.
pub fn description() -> String {
    format!(
        "made by taskdiag diagnose --isolate for one run, {:.0}; can be deleted",
        jiff::Timestamp::now()
    )
}

fn made(vhost: &Json) -> Option<SystemTime> {
    let description = vhost
        .get("description")
        .or_else(|| vhost.pointer("/metadata/description"))
        .and_then(Json::as_str)?;
    description
        .split([' ', ';'])
        .find_map(|word| word.parse::<jiff::Timestamp>().ok())
        .map(SystemTime::from)
}

/// On this machine: folders of runs whose guardian is gone, and in which nobody writes any more.
pub fn folders(below: &Path) -> Vec<LeftBehind> {
    let entries = std::fs::read_dir(below).into_iter().flatten().flatten();
    let mut found: Vec<LeftBehind> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.strip_prefix(FOLDER).is_some_and(is_id))
        .filter_map(|name| folder(below.join(name)))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn folder(path: PathBuf) -> Option<LeftBehind> {
    let metadata = std::fs::symlink_metadata(&path).ok()?;
    if !metadata.is_dir() {
        return None;
    }
    // Its guardian holds a lock on it as long as it lives; another user's cannot be opened at all.
    std::fs::File::open(&path).ok()?.try_lock().ok()?;
    let age = metadata.modified().ok()?.elapsed().unwrap_or_default();
    if age < FRESH || is_open(&path) {
        return None;
    }
    let size: u64 = std::fs::read_dir(&path)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| trim::size(&metadata))
        .sum();
    let name = path.display().to_string();
    let quoted = match name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
    {
        true => name.clone(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    };
    Some(LeftBehind {
        kind: "folder",
        name: printable_line(&name).into_owned(),
        seen: format!(
            "logs of what was started ({}), made {} ago",
            bytes(size),
            seconds(age)
        ),
        remove: printable_line(&format!("rm -r {quoted}")).into_owned(),
    })
}

/// Whether a process that can be seen has a file of the folder open: what `--keep` left running.
fn is_open(folder: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|files| files.flatten())
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|file| file.starts_with(folder) && file != folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_ours() {
        let id = "0123456789abcdef0123456789abcdef";
        assert!(is_ours(&format!("taskdiag.isolate.{id}")));
        for other in ["taskdiag.isolate.", "taskdiag.isolate.x; rm -r /", "jobs", id] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_vhost_says_when_it_was_made() {
        let vhost = serde_json::json!({ "description": description() });
        let age = made(&vhost).and_then(|made| made.elapsed().ok()).expect("an age");
        assert!(age < FRESH, "{age:?} {vhost}");
        let old = serde_json::json!({ "metadata": { "description": "made at 2026-01-01T00:00:00Z; x" } });
        assert!(made(&old).is_some());
        assert_eq!(made(&serde_json::json!({ "description": "by hand" })), None);
    }

    #[test]
    fn a_folder_counts_when_it_is_old_and_nobody_has_it() {
        let below = std::env::temp_dir().join(format!("left-behind-{}", uuid::Uuid::new_v4().simple()));
        let path = below.join(format!("{FOLDER}{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::create_dir_all(below.join("taskdiag-mine")).expect("somebody else's");
        assert_eq!(folders(&below), [], "a run may just be making it");
        let old = SystemTime::now() - Duration::from_secs(7300);
        let log = std::fs::File::create(path.join("worker.log")).expect("a log");
        let lock = std::fs::File::open(&path).expect("the folder");
        lock.set_modified(old).expect("aged");
        assert_eq!(folders(&below), [], "a process writes to it");
        drop(log);
        lock.lock_shared().expect("a lock");
        assert_eq!(folders(&below), [], "its guardian lives");
        drop(lock);
        let found = folders(&below);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].remove.starts_with("rm -r /") && found[0].seen.contains("2 h ago"),
            "{found:?}"
        );
        std::fs::remove_dir_all(below).expect("removed");
    }
}
