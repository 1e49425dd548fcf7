//! Values of environment variables: shown only where known to be harmless, otherwise a keyed hash,
//! so that two recordings can be compared without either of them holding a secret.
//!
//! A plain hash of a short password is found by trying; with a key that stays in the user's state
//! folder it is not. Whoever can read the key could try, so one that others can read is refused.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use url::Url;

use crate::framework;
use crate::timeline::environment::{Masked, Variable};
use crate::timeline::scrub::{Scrubber, is_secret_name, looks_random};

/// Environment variables whose values are harmless and tell something.
const HARMLESS: &[&str] = &[
    "DJANGO_SETTINGS_MODULE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "PYTHONASYNCIODEBUG",
    "PYTHONBREAKPOINT",
    "PYTHONDEBUG",
    "PYTHONDEVMODE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONFAULTHANDLER",
    "PYTHONHASHSEED",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONIOENCODING",
    "PYTHONMALLOC",
    "PYTHONNOUSERSITE",
    "PYTHONOPTIMIZE",
    "PYTHONPATH",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSAFEPATH",
    "PYTHONSTARTUP",
    "PYTHONTRACEMALLOC",
    "PYTHONUNBUFFERED",
    "PYTHONUSERBASE",
    "PYTHONUTF8",
    "PYTHONVERBOSE",
    "PYTHONWARNINGS",
    "PYTHON_GIL",
    "PYTHON_VERSION",
    "APP_ENV",
    "ENV",
    "ENVIRONMENT",
    "FLASK_ENV",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "PWD",
    "PYTEST_CURRENT_TEST",
    "SHELL",
    "TERM",
    "TESTING",
    "TMPDIR",
    "TZ",
    "UNIT_TESTING",
    "UNIT_TESTS",
    "USER",
    "VIRTUAL_ENV",
    "WEB_CONCURRENCY",
];

/// A harmless value is a word, a path or a list of paths; nobody needs more of it.
const MOST_SHOWN: usize = 400;

/// The names of those, and how others of them begin.
pub fn harmless_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let workers = || framework::ALL.iter().map(|framework| &framework.worker);
    let switches = workers().flat_map(|worker| worker.test_switches.iter().chain(worker.tuning_variables));
    let names = HARMLESS.iter().chain(switches).copied().collect();
    let prefixes = workers().flat_map(|worker| worker.tuning_prefixes).copied();
    (names, prefixes.collect())
}

fn may_be_shown(name: &str) -> bool {
    HARMLESS.contains(&name) || (framework::is_harmless_variable(name) && !is_secret_name(name))
}

/// A token may stand anywhere, in `ENV` or in a path.
pub(super) fn is_harmless(value: &str) -> bool {
    value.len() <= MOST_SHOWN && !looks_random(value) && Scrubber::default().text(value) == value
}

/// Turns values into what may be recorded.
pub struct Masker {
    key: Option<Vec<u8>>,
    /// Names the key without giving it away.
    pub id: Option<String>,
    /// Why there is no key, and what to do.
    pub trouble: Option<String>,
}

impl Masker {
    /// With the key of this user, made at the first use.
    pub fn of_this_user() -> Self {
        let Some(folder) = state_folder() else {
            return Self::without(
                "neither XDG_STATE_HOME nor HOME is set: set one to have values of variables compared",
            );
        };
        match key_in(&folder) {
            Ok(key) => Self::with(key),
            Err(trouble) => Self::without(&trouble),
        }
    }

    /// The same for a run that hashes values in places as well: they get a key of their own, from which this user's
    /// cannot be found.
    pub fn of_places() -> Self {
        let mut masker = Self::of_this_user();
        if let Some(key) = masker.key.take() {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
                return masker;
            };
            mac.update(b"taskdiag places");
            masker = Self::with(mac.finalize().into_bytes().to_vec());
        }
        masker
    }

    /// In hexadecimal digits, for whoever hashes in our stead.
    pub fn key_in_words(&self) -> Option<String> {
        self.key.as_deref().map(hex)
    }

    /// What may be recorded of a value that was hashed elsewhere; `plain` if it is one of those that may be shown.
    pub fn seen_elsewhere(&self, name: &str, plain: Option<String>, masked: Option<Masked>) -> Variable {
        match (
            plain.filter(|value| may_be_shown(name) && is_harmless(value)),
            masked,
        ) {
            (Some(value), _) => Variable::Plain(value),
            (None, Some(masked)) if self.key.is_some() => Variable::Masked(masked),
            _ => Variable::Hidden,
        }
    }

    pub(in crate::vantage) fn with(key: Vec<u8>) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"taskdiag key id\0");
        digest.update(&key);
        Self {
            id: Some(hex(&digest.finalize()[..6])),
            key: Some(key),
            trouble: None,
        }
    }

    pub fn without(trouble: &str) -> Self {
        Self {
            key: None,
            id: None,
            trouble: Some(format!("values of variables are not compared: {trouble}")),
        }
    }

    /// What may be recorded of a value.
    pub fn variable(&self, name: &OsStr, value: &OsStr) -> Variable {
        if value.is_empty() {
            return Variable::Plain(String::new());
        }
        let shown = name.to_str().is_some_and(may_be_shown);
        if shown && let Some(value) = value.to_str().filter(|value| is_harmless(value)) {
            return Variable::Plain(value.to_owned());
        }
        let Some(key) = &self.key else {
            return Variable::Hidden;
        };
        let url = value
            .to_str()
            .filter(|text| text.len() < 4096 && text.contains("://"))
            .map(one_name_of_this_machine);
        let url = url.as_deref();
        let mut masked = Masked {
            value: keyed(
                key,
                name.as_bytes(),
                "",
                url.map_or(value.as_bytes(), str::as_bytes),
            ),
            ..Masked::default()
        };
        // Which part of a URL differs tells another broker from another password.
        if let Some(url) = url.and_then(|text| Url::parse(text).ok()).filter(Url::has_host) {
            let port = url.port().map(|port| port.to_string());
            for (part, text) in [
                ("scheme", Some(url.scheme())),
                ("user", Some(url.username())),
                ("password", url.password()),
                ("host", url.host_str()),
                ("port", port.as_deref()),
                ("path", Some(url.path())),
                ("query", url.query()),
            ] {
                if let Some(text) = text.filter(|text| !text.is_empty()) {
                    masked.parts.insert(
                        part.to_owned(),
                        keyed(key, name.as_bytes(), part, text.as_bytes()),
                    );
                }
            }
        }
        Variable::Masked(masked)
    }
}

/// `127.0.0.1` and `localhost` are no two hosts. Where they do lead to two addresses (one to `::1`, and
/// the broker listens on the other only) the connections tell, or there is none.
fn one_name_of_this_machine(url: &str) -> Cow<'_, str> {
    let Some(scheme) = url.find("://") else {
        return url.into();
    };
    let start = scheme + 3;
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let is_host = |name: &&str| {
        let rest = url[host..end].strip_prefix(*name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    match ["127.0.0.1", "[::1]"].into_iter().find(is_host) {
        Some(name) => format!("{}localhost{}", &url[..host], &url[host + name.len()..]).into(),
        None => url.into(),
    }
}

/// 64 bits are enough to tell values apart. The name goes in, so that equal values of different
/// variables cannot be told to be equal.
fn keyed(key: &[u8], name: &[u8], part: &str, value: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new();
    };
    mac.update(name);
    mac.update(b"\0");
    mac.update(part.as_bytes());
    mac.update(b"\0");
    mac.update(value);
    hex(&mac.finalize().into_bytes()[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `$XDG_STATE_HOME/taskdiag`, as the XDG base directory specification says.
fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("taskdiag"))
}

const KEY: usize = 32;

/// The key in this folder; a new one if there is none yet. An error names the thing, what was seen
/// and the next step.
fn key_in(folder: &Path) -> Result<Vec<u8>, String> {
    let failed = |what: &str, error: std::io::Error| {
        format!(
            "{what} {}: {error}: set XDG_STATE_HOME to a folder of yours",
            folder.display()
        )
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed("cannot make", error))?;
    private(
        folder,
        &fs::metadata(folder).map_err(|error| failed("cannot look at", error))?,
        "700",
    )?;
    let path = folder.join("key");
    let open = || {
        fs::OpenOptions::new()
            .read(true)
            // Neither a link nor a pipe is what we wrote there.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path)
    };
    let file = match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_key(folder, &path).map_err(|error| failed("cannot write the key into", error))?;
            open()
        }
        other => other,
    };
    let mut file = file.map_err(|error| failed("cannot read the key in", error))?;
    let metadata = file
        .metadata()
        .map_err(|error| failed("cannot look at the key in", error))?;
    private(&path, &metadata, "600")?;
    let mut key = Vec::new();
    Read::by_ref(&mut file)
        .take(KEY as u64 + 1)
        .read_to_end(&mut key)
        .map_err(|error| failed("cannot read the key in", error))?;
    if !metadata.is_file() || key.len() != KEY {
        return Err(format!(
            "{} is not a key of taskdiag: remove it, and the next run makes a new one",
            path.display()
        ));
    }
    Ok(key)
}

/// Only its owner, who is us, may read it.
fn private(path: &Path, metadata: &fs::Metadata, wanted: &str) -> Result<(), String> {
    let mode = metadata.mode() & 0o7777;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Real, effective, saved, and that of the file system.
    let us = status.lines().find_map(|line| {
        line.strip_prefix("Uid:")?
            .split_whitespace()
            .nth(1)?
            .parse::<u32>()
            .ok()
    });
    if Some(metadata.uid()) != us {
        return Err(format!(
            "{} belongs to another user (uid {}): set XDG_STATE_HOME to a folder of yours",
            path.display(),
            metadata.uid()
        ));
    }
    if mode & 0o077 != 0 {
        return Err(format!(
            "{} is open to others (mode {mode:o}): chmod {wanted} it, or remove it if somebody may have read it",
            path.display()
        ));
    }
    Ok(())
}

/// Written aside and linked into place: of two that start at once both use the first one's.
fn make_key(folder: &Path, path: &Path) -> std::io::Result<()> {
    let mut key = [0; KEY];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let aside = folder.join(format!(".key.{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    let done = file
        .write_all(&key)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    match done {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn this_machine_is_one_host() {
        for (url, same) in [
            (
                "amqp://u:127.0.0.1@127.0.0.1:5672/v",
                "amqp://u:127.0.0.1@localhost:5672/v",
            ),
            ("postgres://[::1]/db", "postgres://localhost/db"),
            ("amqp://127.0.0.1", "amqp://localhost"),
            ("amqp://127.0.0.10:5672", "amqp://127.0.0.10:5672"),
            ("http://h/127.0.0.1:80", "http://h/127.0.0.1:80"),
        ] {
            assert_eq!(one_name_of_this_machine(url), same);
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("taskdiag-mask-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn masked(masker: &Masker, name: &str, value: &str) -> Masked {
        match masker.variable(OsStr::new(name), OsStr::new(value)) {
            Variable::Masked(masked) => masked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = folder("once");
        let key = key_in(&folder).unwrap();
        assert_eq!(key_in(&folder).unwrap(), key);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("key")), 0o600);
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = folder("open");
        key_in(&folder).unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
        let refused = key_in(&folder).unwrap_err();
        assert!(
            refused.contains("mode 644") && refused.contains("chmod 600"),
            "{refused}"
        );
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = key_in(&folder).unwrap_err();
        assert!(refused.contains("chmod 700"), "{refused}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn neither_a_link_nor_rubbish_is_a_key() {
        let folder = folder("link");
        key_in(&folder).unwrap();
        fs::remove_file(folder.join("key")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("key")).unwrap();
        assert!(key_in(&folder).is_err());
        fs::remove_file(folder.join("key")).unwrap();
        fs::write(folder.join("key"), "short").unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(key_in(&folder).unwrap_err().contains("not a key"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn equal_values_are_equal_and_nothing_shows() {
        let masker = Masker::with(vec![7; KEY]);
        let one = masked(&masker, "DATABASE_URL", "postgres://ops:one@db:5432/ops");
        assert_eq!(
            one,
            masked(&masker, "DATABASE_URL", "postgres://ops:one@db:5432/ops")
        );
        let other = masked(&masker, "DATABASE_URL", "postgres://ops:two@db:5432/ops");
        assert_ne!(one.value, other.value);
        let differing: Vec<&str> = one
            .parts
            .iter()
            .filter(|(part, hash)| other.parts.get(*part) != Some(hash))
            .map(|(part, _)| part.as_str())
            .collect();
        assert_eq!(differing, ["password"]);
        assert_ne!(
            masked(&masker, "A", "x").value,
            masked(&masker, "B", "x").value,
            "equal values of two variables do not look equal"
        );
        let another = Masker::with(vec![8; KEY]);
        assert_ne!(another.id, masker.id);
        assert_ne!(masked(&another, "A", "x"), masked(&masker, "A", "x"));
    }

    #[test]
    fn what_holds_a_secret_is_not_harmless() {
        let masker = Masker::without("no key");
        let of = |name: &str, value: &str| masker.variable(OsStr::new(name), OsStr::new(value));
        for (name, value) in [
            ("PYTHON_API_TOKEN", "x"),
            ("PYTHONANYWHERE_PASSWORD", "x"),
            ("LC_PASSWORD", "x"),
            ("dramatiq_queue_secret", "x"),
            ("ENV", "Zk7pQ2vX9mLw4r"),
            ("APP_ENV", "postgres://u:x@h/db"),
        ] {
            assert_eq!(of(name, value), Variable::Hidden, "{name}");
        }
        for (name, value) in [
            ("PYTHONPATH", "/srv/2026-app1:."),
            ("LC_ALL", "C.UTF-8"),
            ("ENV", "staging2"),
        ] {
            assert_eq!(of(name, value), Variable::Plain(value.into()), "{name}");
        }
    }

    #[test]
    fn harmless_ones_are_shown_and_without_a_key_only_presence_is_known() {
        let masker = Masker::without("no key");
        let of = |name: &str, value: &[u8]| masker.variable(OsStr::new(name), OsStr::from_bytes(value));
        assert_eq!(of("DRAMATIQ_TESTING", b"1"), Variable::Plain("1".into()));
        assert_eq!(of("SECRET", b"x"), Variable::Hidden);
        assert_eq!(of("SECRET", b""), Variable::Plain(String::new()));
        assert_eq!(
            of("TZ", b"\xff"),
            Variable::Hidden,
            "what is no text is not shown"
        );
        assert_eq!(of("PATH", &[b'x'; 1_000_000]), Variable::Hidden);
    }
}
