//! The TCP sockets of this machine's network namespaces, each table read once, and only where asked for.
//!
//! The kernel walks its whole hash table for each: 5 to 25 ms, whatever the namespace holds. Beside many
//! containers that is the cost of a look.

#[cfg(test)]
use std::cell::Cell;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use crate::procfs::net::TcpNetEntry;
use crate::procfs::process::Process as Proc;

use super::container;

/// What was seen at one moment: made anew for each look.
#[derive(Default)]
pub(super) struct Tables {
    own: OnceCell<Vec<TcpNetEntry>>,
    others: OnceCell<Vec<Namespace>>,
}

/// A network namespace, known by one of its processes.
struct Namespace {
    key: Key,
    pid: i32,
    addresses: OnceCell<HashSet<IpAddr>>,
    entries: OnceCell<Vec<TcpNetEntry>>,
    /// How often its table was read.
    #[cfg(test)]
    reads: Cell<usize>,
}

/// Another user's namespaces have no number for us, but a container has one of its own as a rule.
#[derive(PartialEq, Eq, Hash, Clone)]
enum Key {
    Inode(u64),
    Container(String),
}

impl Key {
    fn of(pid: i32) -> Option<Self> {
        let inode = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        inode.map(|metadata| Key::Inode(metadata.ino())).ok().or_else(|| {
            let id = container::id(pid)?;
            // Our own container's processes are in our namespace.
            (container::id(std::process::id() as i32).as_ref() != Some(&id)).then_some(Key::Container(id))
        })
    }
}

impl Tables {
    /// Of our own namespace.
    pub fn own(&self) -> &[TcpNetEntry] {
        self.own.get_or_init(|| {
            let mut entries = crate::procfs::net::tcp().unwrap_or_default();
            entries.extend(crate::procfs::net::tcp6().unwrap_or_default());
            entries
        })
    }

    /// Of the namespace that the process is in.
    pub fn of(&self, pid: i32) -> &[TcpNetEntry] {
        let key = Key::of(pid);
        match key.filter(|key| Key::of(std::process::id() as i32).as_ref() != Some(key)) {
            None => self.own(),
            Some(key) => {
                let other = self.others().iter().find(|other| other.key == key);
                other.map_or(&[], Namespace::entries)
            }
        }
    }

    /// Of the other namespaces that have this address.
    pub fn others_with(&self, address: IpAddr) -> impl Iterator<Item = &[TcpNetEntry]> {
        let address = address.to_canonical();
        self.others()
            .iter()
            .filter(move |other| address.is_loopback() || other.addresses().contains(&address))
            .map(Namespace::entries)
    }

    /// A process in the other namespace that has this address.
    pub fn inhabitant(&self, address: IpAddr) -> Option<i32> {
        let address = address.to_canonical();
        let mut others = self.others().iter();
        others
            .find(|other| other.addresses().contains(&address))
            .map(|other| other.pid)
    }

    fn others(&self) -> &[Namespace] {
        self.others.get_or_init(|| {
            let mut seen: HashSet<Key> = Key::of(std::process::id() as i32).into_iter().collect();
            let mut others = Vec::new();
            for process in crate::procfs::all_processes() {
                if let Some(key) = Key::of(process.pid)
                    && seen.insert(key.clone())
                {
                    others.push(Namespace {
                        key,
                        pid: process.pid,
                        addresses: OnceCell::new(),
                        entries: OnceCell::new(),
                        #[cfg(test)]
                        reads: Cell::new(0),
                    });
                }
            }
            others
        })
    }
}

impl Namespace {
    fn entries(&self) -> &[TcpNetEntry] {
        self.entries.get_or_init(|| {
            #[cfg(test)]
            self.reads.set(self.reads.get() + 1);
            let Ok(process) = Proc::new(self.pid) else {
                return Vec::new();
            };
            let mut entries = process.tcp().unwrap_or_default();
            entries.extend(process.tcp6().unwrap_or_default());
            entries
        })
    }

    fn addresses(&self) -> &HashSet<IpAddr> {
        self.addresses.get_or_init(|| {
            let read = |file: &str| {
                std::fs::read_to_string(format!("/proc/{}/net/{file}", self.pid)).unwrap_or_default()
            };
            local_addresses(&read("fib_trie"))
                .chain(inet6_addresses(&read("if_inet6")))
                .filter(|address| !address.is_loopback())
                .collect()
        })
    }
}

/// `|-- 172.19.0.5`, then `/32 host LOCAL`.
fn local_addresses(fib_trie: &str) -> impl Iterator<Item = IpAddr> {
    let pairs = fib_trie.lines().zip(fib_trie.lines().skip(1));
    pairs.filter_map(|(leaf, below)| {
        let address = leaf.trim().strip_prefix("|-- ")?;
        below.contains("/32 host LOCAL").then(|| address.parse().ok())?
    })
}

fn inet6_addresses(if_inet6: &str) -> impl Iterator<Item = IpAddr> {
    if_inet6.lines().filter_map(|line| {
        let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        Some(IpAddr::V6(bits.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.19.0.0\n        /16 link UNICAST\n           |-- 172.19.0.5\n              /32 host LOCAL\n           |-- 172.19.255.255\n              /32 link BROADCAST\n";
        let found: Vec<IpAddr> = local_addresses(trie).collect();
        assert_eq!(found, ["172.19.0.5".parse::<IpAddr>().expect("an address")]);
        let six: Vec<IpAddr> =
            inet6_addresses("fd000000000000000000000000000005 02 40 00 80     eth0\n").collect();
        assert_eq!(six, ["fd00::5".parse::<IpAddr>().expect("an address")]);
    }

    #[test]
    fn our_own_table_is_of_our_own_namespace() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let tables = Tables::default();
        let own = std::process::id() as i32;
        assert!(
            tables
                .of(own)
                .iter()
                .any(|entry| entry.local_address.port() == port)
        );
    }

    /// Processes in network namespaces of their own, as foreign containers are. Without root each needs a user
    /// namespace as well.
    struct Foreign(Vec<std::process::Child>);

    impl Foreign {
        fn start(count: usize) -> Self {
            let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
            let flags: &[&str] = match is_root {
                true => &["--net"],
                false => &["--map-root-user", "--net"],
            };
            let started = (0..count).map(|_| {
                let mut command = std::process::Command::new("unshare");
                command
                    .args(flags)
                    .args(["sleep", "60"])
                    .spawn()
                    .expect("unshare")
            });
            let foreign = Self(started.collect());
            let own = Key::of(std::process::id() as i32);
            let is_apart = |pid: i32| Key::of(pid).is_some_and(|key| Some(&key) != own.as_ref());
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while !foreign.pids().into_iter().all(is_apart) {
                assert!(std::time::Instant::now() < until, "no network namespaces");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            foreign
        }

        fn pids(&self) -> Vec<i32> {
            self.0.iter().map(|child| child.id() as i32).collect()
        }
    }

    impl Drop for Foreign {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// Thirty foreign containers must cost a look next to nothing: a table is a walk through the whole kernel's.
    #[test]
    fn foreign_namespaces_are_not_read_and_none_is_read_twice() {
        let foreign = Foreign::start(30);
        let tables = Tables::default();
        let reads = |pid: i32| {
            let key = Key::of(pid);
            let namespace = tables
                .others()
                .iter()
                .find(|other| Some(&other.key) == key.as_ref());
            namespace.map(|namespace| namespace.reads.get())
        };
        // Who is at an address that none of them has, and who is in our own namespace: none of theirs is read.
        let elsewhere: IpAddr = "203.0.113.7".parse().expect("an address");
        assert_eq!(tables.others_with(elsewhere).count(), 0);
        assert_eq!(tables.inhabitant(elsewhere), None);
        tables.of(std::process::id() as i32);
        for pid in foreign.pids() {
            assert_eq!(reads(pid), Some(0), "pid {pid}");
        }
        // One of them is asked for by many processes and connections: its table is read once, the others' not at all.
        let asked = foreign.pids()[0];
        for _ in 0..30 {
            assert!(tables.of(asked).is_empty());
        }
        for pid in foreign.pids() {
            assert_eq!(reads(pid), Some(usize::from(pid == asked)), "pid {pid}");
        }
    }
}
