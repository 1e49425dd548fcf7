//! A filter around a started process: it and everything below it reach the broker through one port only.
//!
//! A worker of `--isolate` must not consume live messages, whatever its code does. So the broker's
//! ports are blocked for it, and the URL in its environment names a port that nobody listens on, the
//! alias, which is redirected to the broker's own. Whoever connects to the alias has read that URL;
//! whoever takes its broker from anywhere else meets a refused connection, before a byte was sent.
//!
//! The kernel applies the filter: seccomp_unotify(2) asks us before every `connect`, of every descendant
//! too, and it cannot be taken off again. No privilege is needed. Linux 5.5 or newer.

use std::io;

use serde::{Deserialize, Serialize};

/// What is redirected and what is blocked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectFilter {
    /// A port that stands for the broker's, at whatever address.
    pub alias_port: u16,
    pub broker_port: u16,
    /// TCP ports that nothing may connect to, at whatever address.
    pub blocked_ports: Vec<u16>,
}

/// A connection that was not let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedConnect {
    pub to: String,
    /// Not a broker, but something that starts processes which no filter would hold.
    pub launcher: bool,
}

/// Sockets of what starts processes elsewhere, by a part of their path.
const LAUNCHERS: &[&str] = &[
    "docker",
    "podman",
    "containerd",
    "crio",
    "supervisor",
    "systemd/private",
    "system_bus_socket",
];
/// ssh, Docker and Kubernetes over TCP.
const LAUNCHER_PORTS: &[u16] = &[22, 2375, 2376, 6443];

/// Where somebody wants to connect to.
#[derive(Debug, PartialEq)]
enum Address {
    Inet { ip: std::net::IpAddr, port: u16 },
    Unix(String),
    Other,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Allow,
    /// To the port that the alias stands for.
    Redirect,
    Block(BlockedConnect),
}

/// `struct sockaddr` as it stands in memory.
fn address(bytes: &[u8]) -> Address {
    let Some(family) = bytes.first_chunk::<2>().map(|two| u16::from_ne_bytes(*two)) else {
        return Address::Other;
    };
    let port = || Some(u16::from_be_bytes(*bytes.get(2..)?.first_chunk::<2>()?));
    let found = match i32::from(family) {
        libc::AF_INET => bytes
            .get(4..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map(|ip| std::net::IpAddr::from(*ip)),
        libc::AF_INET6 => bytes
            .get(8..)
            .and_then(|rest| rest.first_chunk::<16>())
            .map(|ip| std::net::IpAddr::from(*ip).to_canonical()),
        libc::AF_UNIX => {
            let path = bytes[2..].strip_prefix(b"\0").unwrap_or(&bytes[2..]);
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            return Address::Unix(String::from_utf8_lossy(&path[..end]).into_owned());
        }
        _ => None,
    };
    match (found, port()) {
        (Some(ip), Some(port)) => Address::Inet { ip, port },
        _ => Address::Other,
    }
}

fn decide(filter: &ConnectFilter, address: &Address, datagrams: bool) -> Decision {
    let blocked = |to: String, launcher: bool| Decision::Block(BlockedConnect { to, launcher });
    match address {
        // Also how a resolver looks which of several addresses can be reached; nothing is sent.
        Address::Inet { .. } if datagrams => Decision::Allow,
        Address::Inet { port, .. } if *port == filter.alias_port => Decision::Redirect,
        Address::Inet { ip, port } => {
            let to = std::net::SocketAddr::new(*ip, *port).to_string();
            if filter.blocked_ports.contains(port) {
                blocked(to, false)
            } else if LAUNCHER_PORTS.contains(port) {
                blocked(to, true)
            } else {
                Decision::Allow
            }
        }
        Address::Unix(path) if LAUNCHERS.iter().any(|part| path.contains(part)) => {
            blocked(path.clone(), true)
        }
        Address::Unix(_) | Address::Other => Decision::Allow,
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn spawn(
    _filter: ConnectFilter,
    _spawn: impl FnOnce() -> io::Result<i32> + Send + 'static,
    _tell: impl Fn(i32, BlockedConnect) + Send + 'static,
) -> io::Result<i32> {
    Err(no_filter("not on this system"))
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use kernel::spawn;

/// What is said where the system offers no such thing begins with this.
pub const NO_FILTER: &str = "a new process cannot be kept away from the broker here";

fn no_filter(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{NO_FILTER} (seccomp: {why})"))
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[allow(unsafe_code)]
mod kernel {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::os::unix::fs::FileExt;
    use std::sync::mpsc;

    use super::{Address, BlockedConnect, ConnectFilter, Decision, address, decide, no_filter};

    /// linux/audit.h
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xC000_00B7;

    /// Offsets in `struct seccomp_data`; arguments are 64 bits, low half first on both of ours.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    /// Of `sendto` and `sendmmsg`.
    const SENDTO_FLAGS: u32 = 16 + 3 * 8;
    const SENDMSG_FLAGS: u32 = 16 + 2 * 8;

    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;

    /// Spawns on a thread that has the filter around itself, and so around all that it spawns. The thread
    /// stays and answers for the filter: it never connects to anything.
    pub(in crate::guardian) fn spawn(
        filter: ConnectFilter,
        spawn: impl FnOnce() -> io::Result<i32> + Send + 'static,
        tell: impl Fn(i32, BlockedConnect) + Send + 'static,
    ) -> io::Result<i32> {
        let (sender, spawned) = mpsc::channel();
        std::thread::Builder::new()
            .name("connect-filter".into())
            .spawn(move || {
                let listener = match install_filter() {
                    Ok(listener) => listener,
                    Err(error) => return drop(sender.send(Err(no_filter(error)))),
                };
                let pid = spawn();
                let root = pid.as_ref().ok().copied();
                if sender.send(pid).is_ok()
                    && let Some(root) = root
                {
                    answer_all(&listener, &filter, &|blocked| tell(root, blocked));
                }
            })?;
        spawned
            .recv()
            .unwrap_or_else(|_| Err(no_filter("its keeper is gone")))
    }

    /// Puts the filter on this thread.
    fn install_filter() -> io::Result<OwnedFd> {
        let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let refuse = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
        let mut instructions = [
            step(LOAD, ARCH, 0, 0),
            step(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0),
            step(RETURN, refuse(libc::ENOSYS), 0, 0),
            step(LOAD, NUMBER, 0, 0),
            // The x32 calls of x86-64; no call of ours is numbered so high.
            step(JUMP_IF_AT_LEAST, 0x4000_0000, 0, 1),
            step(RETURN, refuse(libc::ENOSYS), 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_connect as u32, 0, 1),
            step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
            // Other ways to connect: io_uring, and TCP Fast Open, which sends with the first packet.
            step(JUMP_IF_EQUAL, libc::SYS_io_uring_setup as u32, 0, 1),
            step(RETURN, refuse(libc::ENOSYS), 0, 0),
            // A connected socket that is taken from another process. (One that is handed over by SCM_RIGHTS
            // cannot be told from any message: docs/security.md.)
            step(JUMP_IF_EQUAL, libc::SYS_pidfd_getfd as u32, 0, 1),
            step(RETURN, refuse(libc::ENOSYS), 0, 0),
            step(JUMP_IF_EQUAL, libc::SYS_sendto as u32, 1, 0),
            step(JUMP_IF_EQUAL, libc::SYS_sendmmsg as u32, 0, 2),
            step(LOAD, SENDTO_FLAGS, 0, 0),
            step(JUMP_IF_ANY_BIT, libc::MSG_FASTOPEN as u32, 3, 4),
            step(JUMP_IF_EQUAL, libc::SYS_sendmsg as u32, 0, 3),
            step(LOAD, SENDMSG_FLAGS, 0, 0),
            step(JUMP_IF_ANY_BIT, libc::MSG_FASTOPEN as u32, 0, 1),
            step(RETURN, refuse(libc::EOPNOTSUPP), 0, 0),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: instructions.len() as u16,
            filter: instructions.as_mut_ptr(),
        };
        let install = || {
            // SAFETY: the program lives until the call returns; only this thread is changed.
            let descriptor = unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                    &program,
                )
            };
            match descriptor {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: it was given to us just now.
                descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }),
            }
        };
        match install() {
            // Without privileges only those may have a filter who cannot get any by executing a file.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                // SAFETY: of this thread only.
                unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
                install()
            }
            other => other,
        }
    }

    /// Answers for as long as the guardian lives; without it every `connect` fails.
    fn answer_all(listener: &OwnedFd, filter: &ConnectFilter, tell: &dyn Fn(BlockedConnect)) {
        loop {
            // SAFETY: plain integers, for which zero is a value; the kernel asks for zeroes.
            let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the structure is the one that this request fills in.
            let received =
                unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked) };
            if received == -1 {
                match io::Error::last_os_error().raw_os_error() {
                    // Whoever asked is gone.
                    Some(libc::ENOENT | libc::EINTR) => continue,
                    _ => return,
                }
            }
            handle(listener, filter, &asked, tell);
        }
    }

    fn handle(
        listener: &OwnedFd,
        filter: &ConnectFilter,
        asked: &libc::seccomp_notif,
        tell: &dyn Fn(BlockedConnect),
    ) {
        let thread = asked.pid;
        let at = asked.data.args[1];
        let length = (asked.data.args[2] as usize).min(size_of::<libc::sockaddr_storage>());
        let mut bytes = vec![0; length];
        // The kernel shows the memory as the thread itself sees it. If the thread is gone, its number may
        // be another's by now: then `is_waiting` says no, and nothing of what was read counts.
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{thread}/mem"));
        let read = memory.and_then(|memory| memory.read_exact_at(&mut bytes, at).map(|()| memory));
        let memory = match read {
            Ok(memory) if is_waiting(listener, asked.id) => memory,
            // What cannot be seen is not let through.
            _ => return drop(respond(listener, asked.id, libc::EACCES)),
        };
        let wanted = address(&bytes);
        let datagrams =
            matches!(wanted, Address::Inet { .. }) && is_for_datagrams(thread, asked.data.args[0] as i32);
        match decide(filter, &wanted, datagrams) {
            Decision::Allow => {
                // A kernel before 5.5 cannot carry out what it has asked about.
                if respond(listener, asked.id, 0).is_err() {
                    let _ = respond(listener, asked.id, libc::EACCES);
                }
            }
            Decision::Redirect => {
                // Behind the family, in both of the families that have ports.
                let port = at + 2;
                let led = memory.write_all_at(&filter.broker_port.to_be_bytes(), port);
                match led {
                    // A signal came in between: it will ask again, for what it asked now.
                    Ok(()) if respond(listener, asked.id, 0).is_err() => {
                        let _ = memory.write_all_at(&filter.alias_port.to_be_bytes(), port);
                    }
                    Ok(()) => {}
                    Err(_) => drop(respond(listener, asked.id, libc::EACCES)),
                }
            }
            Decision::Block(blocked) => {
                let _ = respond(listener, asked.id, libc::ECONNREFUSED);
                tell(blocked);
            }
        }
    }

    /// `connect` fails with `error`, or is carried out where that is 0.
    fn respond(listener: &OwnedFd, id: u64, error: i32) -> io::Result<()> {
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: -error,
            flags: match error {
                0 => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
                _ => 0,
            },
        };
        // SAFETY: the structure is the one that this request reads.
        let sent = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &mut response,
            )
        };
        match sent {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// It still waits for this answer, so its number meant nobody else when its memory was opened.
    fn is_waiting(listener: &OwnedFd, id: u64) -> bool {
        // SAFETY: the request reads one number.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0 }
    }

    /// The protocol's name is an attribute of the socket; lsof reads it, too. One without is taken for TCP.
    fn is_for_datagrams(thread: u32, descriptor: i32) -> bool {
        let Ok(path) = std::ffi::CString::new(format!("/proc/{thread}/fd/{descriptor}")) else {
            return false;
        };
        let mut name = [0u8; 32];
        // SAFETY: both strings end with zero, and the buffer is as long as said.
        let length = unsafe {
            libc::getxattr(
                path.as_ptr(),
                c"system.sockprotoname".as_ptr(),
                name.as_mut_ptr().cast(),
                name.len(),
            )
        };
        length > 0 && name.starts_with(b"UDP")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// TCP Fast Open connects with the first packet, without a `connect`; each of these can ask for it.
        #[test]
        fn nothing_connects_by_sending() {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let tried = std::thread::spawn(move || {
                let _notified = install_filter().expect("a filter");
                // SAFETY: plain numbers, for which zero is a value.
                let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                to.sin_family = libc::AF_INET as u16;
                to.sin_port = port.to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
                let mut text = *b"AMQP";
                let mut part = libc::iovec {
                    iov_base: text.as_mut_ptr().cast(),
                    iov_len: text.len(),
                };
                // SAFETY: as above.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_name = (&raw mut to).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_hdr.msg_iov = &raw mut part;
                message.msg_hdr.msg_iovlen = 1;
                let flags = libc::MSG_FASTOPEN;
                // SAFETY: all that is pointed to lives until the calls return.
                unsafe {
                    let socket = || libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
                    let error = |result: isize| (result, io::Error::last_os_error().raw_os_error());
                    [
                        error(libc::sendmmsg(socket(), &mut message, 1, flags) as isize),
                        error(libc::sendmsg(socket(), &message.msg_hdr, flags)),
                        error(libc::sendto(
                            socket(),
                            text.as_ptr().cast(),
                            text.len(),
                            flags,
                            (&raw const to).cast(),
                            size_of::<libc::sockaddr_in>() as u32,
                        )),
                        error(libc::syscall(libc::SYS_pidfd_getfd, -1, 0, 0) as isize),
                    ]
                }
            });
            let refused = (-1, Some(libc::EOPNOTSUPP));
            let missing = (-1, Some(libc::ENOSYS));
            assert_eq!(
                tried.join().expect("the thread"),
                [refused, refused, refused, missing]
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> ConnectFilter {
        ConnectFilter {
            alias_port: 4000,
            broker_port: 5672,
            blocked_ports: vec![5671, 5672],
        }
    }

    fn inet(port: u16) -> Address {
        Address::Inet {
            ip: [10, 0, 0, 9].into(),
            port,
        }
    }

    #[test]
    fn one_port_leads_to_the_broker() {
        let blocked = |port: u16, launcher: bool| {
            Decision::Block(BlockedConnect {
                to: format!("10.0.0.9:{port}"),
                launcher,
            })
        };
        let asked = |port: u16| decide(&filter(), &inet(port), false);
        assert_eq!(asked(4000), Decision::Redirect);
        assert_eq!(asked(5672), blocked(5672, false));
        assert_eq!(asked(5671), blocked(5671, false));
        assert_eq!(asked(2375), blocked(2375, true));
        assert_eq!(asked(5432), Decision::Allow);
        // A resolver that tries which address is near.
        assert_eq!(decide(&filter(), &inet(5672), true), Decision::Allow);
    }

    #[test]
    fn what_starts_processes_elsewhere() {
        let asked = |path: &str| decide(&filter(), &Address::Unix(path.into()), false);
        for path in [
            "/var/run/docker.sock",
            "/run/user/1000/podman/podman.sock",
            "/run/systemd/private",
        ] {
            assert!(
                matches!(
                    asked(path),
                    Decision::Block(BlockedConnect { launcher: true, .. })
                ),
                "{path}"
            );
        }
        for path in [
            "/run/postgresql/.s.PGSQL.5432",
            "/run/systemd/journal/socket",
            "/run/nscd/socket",
        ] {
            assert_eq!(asked(path), Decision::Allow, "{path}");
        }
    }

    #[test]
    fn addresses_as_they_stand_in_memory() {
        let with = |family: i32, rest: &[u8]| {
            let mut bytes = (family as u16).to_ne_bytes().to_vec();
            bytes.extend(rest);
            address(&bytes)
        };
        let port = 5672u16.to_be_bytes();
        assert_eq!(
            with(libc::AF_INET, &[port[0], port[1], 10, 0, 0, 9, 0, 0]),
            inet(5672)
        );
        let mut mapped = vec![port[0], port[1], 0, 0, 0, 0];
        mapped.extend(
            "::ffff:10.0.0.9"
                .parse::<std::net::Ipv6Addr>()
                .expect("it")
                .octets(),
        );
        assert_eq!(with(libc::AF_INET6, &mapped), inet(5672));
        assert_eq!(
            with(libc::AF_UNIX, b"/run/x\0junk"),
            Address::Unix("/run/x".into())
        );
        assert_eq!(with(libc::AF_UNIX, b"\0name"), Address::Unix("name".into()));
        for short in [&[][..], &[2], &[2, 0, 1]] {
            assert_eq!(address(short), Address::Other);
        }
        assert_eq!(with(libc::AF_UNSPEC, &[0; 14]), Address::Other);
    }

    /// The kernel itself, with processes below processes.
    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_below_gets_past_it() {
        use std::io::Read;
        use std::process::{Command, Stdio};
        use std::sync::mpsc;

        let live = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = |listener: &std::net::TcpListener| listener.local_addr().expect("its address").port();
        let alias_port = {
            let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            port(&unused)
        };
        let filter = ConnectFilter {
            alias_port,
            broker_port: port(&live),
            blocked_ports: vec![port(&live)],
        };
        let script = format!(
            "for p in {alias_port} {} {}; do (exec 3<>/dev/tcp/127.0.0.1/$p) 2>/dev/null && echo $p in || echo $p out; done",
            port(&live),
            port(&free)
        );
        let (out, printed) = mpsc::channel();
        let (told, blocked) = mpsc::channel();
        let pid = spawn(
            filter,
            move || {
                let mut child = Command::new("bash")
                    .args(["-c", "bash -c \"$0\"", &script])
                    .stdout(Stdio::piped())
                    .spawn()?;
                let pid = child.id() as i32;
                let mut stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
                std::thread::spawn(move || {
                    let mut text = String::new();
                    let _ = stdout.read_to_string(&mut text);
                    let _ = child.wait();
                    let _ = out.send(text);
                });
                Ok(pid)
            },
            move |root, blocked| {
                let _ = told.send((root, blocked));
            },
        )
        .expect("a filter");
        let second = std::time::Duration::from_secs(10);
        assert_eq!(
            printed.recv_timeout(second).expect("what it saw"),
            format!("{alias_port} in\n{} out\n{} in\n", port(&live), port(&free))
        );
        let to = format!("127.0.0.1:{}", port(&live));
        assert_eq!(
            blocked.recv_timeout(second).expect("the news"),
            (pid, BlockedConnect { to, launcher: false })
        );
        assert!(blocked.try_recv().is_err());
        drop((live, free));
    }
}
