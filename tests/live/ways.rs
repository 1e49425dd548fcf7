//! Another way into a place than an engine's: a real sshd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, free_port, signal, until};
use crate::stack::Stack;
use crate::worker::healthy;

/// A program of a package that is not installed: fetched and unpacked once, into the lab's folder.
fn unpacked(package: &str, program: &str) -> PathBuf {
    let folder = Path::new(Lab::get().value("LAB_DIR"))
        .join("packages")
        .join(package);
    let path = folder.join(program);
    if !path.exists() {
        fs::create_dir_all(&folder).expect("a folder");
        let script = format!(
            "apt-get -o APT::Sandbox::User=root download {package} && dpkg-deb --extract {package}_*.deb . && rm {package}_*.deb"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&folder)
            .output();
        let output = output.expect("sh");
        assert!(
            path.exists(),
            "{package}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    path
}

/// A server of its own on this machine's loopback. The words that lead in.
fn sshd(stack: &mut Stack) -> Vec<String> {
    let installed = PathBuf::from("/usr/sbin/sshd");
    let sshd = match installed.exists() {
        true => installed,
        false => unpacked("openssh-server", "usr/sbin/sshd"),
    };
    let folder = stack.dir.join("ssh");
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("its mode");
    let key = |name: &str| {
        let path = folder.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.expect("ssh-keygen").success());
        path
    };
    let (host, own) = (key("host"), key("own"));
    let port = free_port();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let authorized = folder.join("own.pub");
    let config = write(
        "sshd_config",
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
            host.display(),
            authorized.display()
        ),
    );
    fs::create_dir_all("/run/sshd").expect("where it separates privileges");
    // The user that it separates privileges with comes with its package.
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let users = write(
        "passwd",
        format!("{users}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"),
    );
    let mut serve = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/passwd && exec \"$2\" -D -e -f \"$3\"";
    serve.args(["--mount", "sh", "-c", script, "sshd"]);
    serve.arg(users).arg(sshd).arg(config);
    stack.start("sshd", "sshd.log", serve);
    stack.until_logged("sshd.log", "Server listening");
    let known = folder.join("known");
    let client = write(
        "config",
        format!(
            "Host worker\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  StrictHostKeyChecking accept-new\n  BatchMode yes\n",
            own.display(),
            known.display()
        ),
    );
    let client = client.display().to_string();
    ["ssh", "-F", &client, "worker"].map(str::to_owned).to_vec()
}

fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .filter(|command| String::from_utf8_lossy(command).replace('\0', " ").contains(text))
        .count()
}

#[test]
fn by_ssh() {
    let mut stack = Stack::new("way-ssh");
    stack.api(&[]);
    // A run that lasts: the way takes a while.
    stack.worker(healthy().env("OPS_WORKER_FAULT", "hang-in-hook"));
    let prefix = sshd(&mut stack);
    stack.set("worker.exec", prefix);
    stack.elsewhere = true;
    let verdict = stack.diagnose(&[]).expect("C", "blocked-before-entry", 20);
    let [deliveries, peers, processes] =
        ["deliver", "peer", "process"].map(|kind| verdict.recorded_events(kind));
    let delivery = deliveries.first().expect("a delivery");
    let peer = peers
        .iter()
        .find(|peer| peer["connection"] == delivery["connection"]);
    let pid = &peer.expect("who took it")["pid"];
    let taker = processes.iter().find(|process| &process["pid"] == pid);
    assert_eq!(taker.expect("it is shown")["at"], "worker");
}

#[test]
fn what_ran_by_ssh_ends_with_a_killed_diagnosis() {
    let mut stack = Stack::new("way-ssh-kill");
    stack.api(&[]);
    stack.worker(healthy().env("OPS_WORKER_FAULT", "hang-in-hook"));
    let marker = format!("TASKDIAG_WAY={}", std::process::id());
    let mut prefix = sshd(&mut stack);
    prefix.extend(["env".to_owned(), marker.clone()]);
    stack.set("worker.exec", prefix);
    stack.elsewhere = true;
    let ours = || {
        let environments = fs::read_dir("/proc").expect("processes").flatten();
        environments
            .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
            .filter(|environ| String::from_utf8_lossy(environ).contains(&marker))
            .count()
    };
    let mut taskdiag = stack.start_diagnose(&[]);
    until("the script runs there", || ours() > 0);
    signal("KILL", format!("-{}", taskdiag.pid()));
    taskdiag.wait();
    until("it is gone", || ours() == 0);
    assert_eq!(running(&marker), 0);
}
