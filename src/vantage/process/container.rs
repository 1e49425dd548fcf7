//! Which container a process runs in, and by what pid it knows itself there.
//!
//! `/proc/PID/status` and `/proc/PID/cgroup` are open to every user. An engine gives each container a
//! cgroup that bears its id, whoever the engine is: Docker, Podman, containerd, CRI-O.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::bounded;
use crate::procfs;
use crate::timeline::place;

/// An engine's id in full, in hexadecimal digits.
const ID: usize = 64;
/// As engines print it. In full it reads like a key, and is masked.
const SHORT: usize = 12;

/// The process's pids, from our namespace down to its own: what it writes into its log is the last.
pub fn nspids(pid: i32) -> Vec<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    nspids_in(&status)
}

fn nspids_in(status: &str) -> Vec<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The first digits of a container's id, by which it is known in all that is told.
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// The id of the container that a process runs in.
pub fn id(pid: i32) -> Option<String> {
    id_in(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Of each container more processes than these are children alike.
const MOST: usize = 16;

/// What runs in the containers with these ids, the oldest of each first.
pub fn processes(ids: &HashSet<String>) -> Vec<i32> {
    if ids.is_empty() {
        return Vec::new();
    }
    let mut found: HashMap<String, Vec<(u64, i32)>> = HashMap::new();
    for process in crate::procfs::all_processes() {
        if let Some(id) = id(process.pid).filter(|id| ids.contains(id))
            && let Ok(stat) = process.stat()
            && !is_our_own(&process)
        {
            found.entry(id).or_default().push((stat.starttime, process.pid));
        }
    }
    let oldest = found.into_values().flat_map(|mut of_one| {
        of_one.sort_unstable();
        of_one.truncate(MOST);
        of_one
    });
    oldest.map(|(_, pid)| pid).collect()
}

/// What `[worker] exec` and `[api] exec` have put there: the script, or the program that reads stacks.
fn is_our_own(process: &procfs::process::Process) -> bool {
    let from_memory = || {
        let exe = std::fs::read_link(format!("/proc/{}/exe", process.pid));
        exe.is_ok_and(|exe| exe.to_string_lossy().starts_with("/memfd:taskdiag"))
    };
    process.cmdline().is_ok_and(|command| place::is_our_own(&command)) || from_memory()
}

/// The same from the text of that file.
pub fn id_in(cgroups: &str) -> Option<String> {
    let names = cgroups.lines().filter_map(|line| line.rsplit(':').next());
    let parts = names.flat_map(|path| path.rsplit('/'));
    parts.map(bare).find(|id| is_id(id)).map(short).map(str::to_owned)
}

/// `docker-ID.scope`, `libpod-ID.scope`, `cri-containerd-ID.scope`, or the id alone.
fn bare(part: &str) -> &str {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    part.rsplit(['-', ':']).next().unwrap_or(part)
}

fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The process is frozen by its cgroup, as by `docker pause`: its state does not say so under cgroup v2.
pub fn is_frozen(pid: i32) -> bool {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    cgroups.is_ok_and(|cgroups| is_frozen_in(&cgroups, Path::new("/sys/fs/cgroup")))
}

/// The same from the text of that file, and where cgroups are mounted: those of v2, or a folder for each controller
/// of v1 and `unified` beside them.
fn is_frozen_in(cgroups: &str, mount: &Path) -> bool {
    cgroups.lines().any(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
        match (controllers, path) {
            (Some(""), Some(path)) => [mount, &mount.join("unified")]
                .iter()
                .any(|mount| says(below(mount, path).join("cgroup.events"), "frozen 1")),
            (Some("freezer"), Some(path)) => {
                let state = below(&mount.join("freezer"), path).join("freezer.state");
                says(state.clone(), "FROZEN") || says(state, "FREEZING")
            }
            _ => false,
        }
    })
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

fn says(file: PathBuf, line: &str) -> bool {
    bounded::text(&file, bounded::SETTINGS).is_ok_and(|text| text.lines().any(|said| said.trim() == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_writes_the_id_into_the_cgroup() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:pids:/docker/{id}\n0::/"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-{id}.scope"),
            format!("3:cpu:/kubepods/besteffort/pod1f/{id}"),
        ] {
            assert_eq!(id_in(&path).as_deref(), Some("0123456789ab"), "{path}");
        }
        assert_eq!(id_in("0::/user.slice/user-1000.slice/session-2.scope"), None);
    }

    #[test]
    fn no_container_has_no_processes() {
        assert!(processes(&HashSet::new()).is_empty());
        assert!(processes(&HashSet::from(["0123456789ab".to_owned()])).is_empty());
    }

    #[test]
    fn a_process_knows_itself_by_its_last_pid() {
        assert_eq!(
            nspids_in("Name:\tx\nPid:\t10471\nNSpid:\t10471\t12\t1\n"),
            [10471, 12, 1]
        );
        assert!(nspids_in("Name:\tx\n").is_empty());
        let own = std::process::id() as i32;
        assert_eq!(nspids(own).first(), Some(&own));
    }

    #[test]
    fn a_paused_container_is_frozen_by_either_version_of_cgroups() {
        let mount = std::env::temp_dir().join(format!("taskdiag-frozen-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let file = mount.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let (v2, hybrid) = ("0::/system.slice/docker-a.scope\n", "7:pids:/b\n0::/b\n");
        let v1 = "12:cpuset:/docker/c\n3:freezer:/docker/c\n";
        let frozen = |cgroups: &str| is_frozen_in(cgroups, &mount);
        assert!(!frozen(v2) && !frozen(hybrid) && !frozen(v1));
        // What is asked for (`cgroup.freeze`) is not yet what is.
        write("system.slice/docker-a.scope/cgroup.freeze", "1\n");
        write(
            "system.slice/docker-a.scope/cgroup.events",
            "populated 1\nfrozen 0\n",
        );
        write("unified/b/cgroup.events", "populated 1\nfrozen 0\n");
        write("freezer/docker/c/freezer.state", "THAWED\n");
        assert!(!frozen(v2) && !frozen(hybrid) && !frozen(v1));
        write(
            "system.slice/docker-a.scope/cgroup.events",
            "populated 1\nfrozen 1\n",
        );
        write("unified/b/cgroup.events", "populated 1\nfrozen 1\n");
        write("freezer/docker/c/freezer.state", "FROZEN\n");
        assert!(frozen(v2) && frozen(hybrid) && frozen(v1));
        assert!(!frozen("0::/system.slice\n"));
        write("freezer/docker/c/freezer.state", "FREEZING\n");
        assert!(frozen(v1));
        std::fs::remove_dir_all(&mount).unwrap();
    }
}
