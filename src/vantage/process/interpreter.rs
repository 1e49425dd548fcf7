//! Which Python runs a process, and where that one looks for packages: from names and files only,
//! never by running it.
//!
//! `/proc/PID/exe` of a virtual environment is the system's Python: argv[0] and `pyvenv.cfg` name the
//! environment (FACTS: "Traps at the vantage points").

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::view::View;
use crate::timeline::environment::Interpreter;

/// The interpreter, and its import path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Python {
    pub interpreter: Interpreter,
    /// Folders of installed packages, in the order in which they are searched.
    pub sites: Vec<PathBuf>,
}

/// What is known of a process before its interpreter is.
pub struct Process<'a> {
    pub view: &'a View,
    /// What `/proc/PID/exe` points at.
    pub executable: &'a Path,
    pub command: &'a [String],
    pub cwd: Option<&'a Path>,
    /// A variable of its environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(python|pypy)(\d+\.\d+)?(\d*)t?d?m?$").ok());

/// `None`: it is no Python that we know.
pub fn find(process: &Process<'_>) -> Option<Python> {
    let name = process.executable.file_name()?.to_str()?;
    // `python3.11 (deleted)` was replaced under the running process.
    let name = name.trim_end_matches(" (deleted)");
    let found = NAME.as_ref()?.captures(name)?;
    let implementation = found.get(1)?.as_str().to_owned();
    let base = process.executable.parent()?.parent()?.to_owned();
    let environment = environment(process);
    let minor = found
        .get(2)
        .map(|minor| minor.as_str().to_owned())
        .or_else(|| {
            environment
                .as_ref()
                .and_then(|(_, settings)| minor_of(settings.version.as_deref()?))
        })
        .or_else(|| only_minor(process.view, &base, &implementation));
    let version = match &minor {
        Some(minor) => exact(process.view, &base, &implementation, minor).or_else(|| {
            // What made the environment may have been upgraded since, but not across minor versions.
            let stated = environment
                .as_ref()
                .and_then(|(_, settings)| settings.version.clone())?;
            (minor_of(&stated).as_ref() == Some(minor)).then_some(stated)
        }),
        None => None,
    };
    let mut sites = Vec::new();
    if let Some(minor) = &minor {
        let library = format!("{implementation}{minor}");
        if let Some((prefix, _)) = &environment {
            sites.extend(site_folders(prefix, &library));
        }
        let with_system = environment
            .as_ref()
            .is_none_or(|(_, settings)| settings.with_system);
        if with_system {
            sites.extend(user_site(process, &library));
            sites.extend(system_sites(&base, &library));
        }
    }
    sites.retain(|site| process.view.is_dir(site));
    let mut seen = Vec::new();
    sites.retain(|site| {
        let real = process.view.resolve(site);
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    Some(Python {
        interpreter: Interpreter {
            implementation,
            version: version.or(minor),
            virtual_environment: environment.is_some(),
            prefix: environment
                .map_or(base, |(prefix, _)| prefix)
                .display()
                .to_string(),
            executable: process.executable.display().to_string(),
        },
        sites,
    })
}

struct Settings {
    version: Option<String>,
    /// The base installation's packages are visible too.
    with_system: bool,
}

/// The virtual environment: beside the program that was started, or one folder up, as Python does.
fn environment(process: &Process<'_>) -> Option<(PathBuf, Settings)> {
    let of = |program: &Path| {
        let folder = program.parent()?;
        [Some(folder), folder.parent()]
            .into_iter()
            .flatten()
            .find_map(|folder| {
                let text = process.view.read(&folder.join("pyvenv.cfg"), 64 * 1024)?;
                Some((folder.to_owned(), settings(&text)))
            })
    };
    if let Some(found) = started(process).and_then(|program| of(&program)) {
        return Some(found);
    }
    // A process that has renamed itself: the variable counts only if it leads to the same program.
    let activated = PathBuf::from((process.variable)("VIRTUAL_ENV")?).join("bin/python");
    let same = process.view.resolve(&activated).as_deref() == Some(process.executable);
    let renamed = started(process).is_none_or(|program| !process.view.is_file(&program));
    (same && renamed).then(|| of(&activated)).flatten()
}

/// The program as it was named: a path, or a name that is looked up like the shell did.
fn started(process: &Process<'_>) -> Option<PathBuf> {
    let name = process.command.first().filter(|name| !name.is_empty())?;
    if name.contains('/') {
        return Some(match process.cwd {
            Some(cwd) => cwd.join(name),
            None => PathBuf::from(name),
        });
    }
    let path = (process.variable)("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| process.view.is_file(program))
}

fn settings(text: &str) -> Settings {
    let value = |wanted: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim().eq_ignore_ascii_case(wanted)).then(|| value.trim().to_owned())
        })
    };
    // `venv` writes version, virtualenv and uv write version_info; virtualenv's own is another key.
    let version = value("version_info").or_else(|| value("version"));
    Settings {
        version: version.and_then(|text| {
            let numbers: Vec<&str> = text
                .split('.')
                .take_while(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
                .take(3)
                .collect();
            (numbers.len() >= 2).then(|| numbers.join("."))
        }),
        with_system: value("include-system-site-packages")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
    }
}

fn minor_of(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

/// `python3` without a number: the one library folder there is tells it.
fn only_minor(view: &View, base: &Path, implementation: &str) -> Option<String> {
    let mut found = view
        .list(&base.join("lib"), 10_000)
        .into_iter()
        .filter_map(|name| {
            let minor = name.strip_prefix(implementation)?;
            let numbers = minor.split_once('.')?;
            (numbers.0.parse::<u8>().is_ok() && numbers.1.parse::<u8>().is_ok()).then(|| minor.to_owned())
        });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The patch level, from the header that comes with most installations.
fn exact(view: &View, base: &Path, implementation: &str, minor: &str) -> Option<String> {
    let header = base.join(format!("include/{implementation}{minor}/patchlevel.h"));
    let text = view.read(&header, 64 * 1024)?;
    let version = text.lines().find_map(|line| {
        let value = line.trim().strip_prefix("#define PY_VERSION")?.trim();
        Some(value.trim_matches('"').to_owned())
    })?;
    version.starts_with(minor).then_some(version)
}

fn site_folders(prefix: &Path, library: &str) -> Vec<PathBuf> {
    ["lib", "lib64"]
        .iter()
        .map(|lib| prefix.join(lib).join(library).join("site-packages"))
        .collect()
}

/// An installation's own, and what Debian makes of it.
fn system_sites(base: &Path, library: &str) -> Vec<PathBuf> {
    let mut sites = Vec::new();
    if base == Path::new("/usr") {
        sites.push(PathBuf::from(format!("/usr/local/lib/{library}/dist-packages")));
        sites.push(PathBuf::from(format!("/usr/local/lib/{library}/site-packages")));
    }
    sites.extend(site_folders(base, library));
    sites.push(base.join("lib/python3/dist-packages"));
    sites.push(base.join("lib").join(library).join("dist-packages"));
    sites
}

/// `~/.local`, unless it is switched off.
fn user_site(process: &Process<'_>, library: &str) -> Option<PathBuf> {
    let off = (process.variable)("PYTHONNOUSERSITE").is_some_and(|value| !value.is_empty());
    let flags = process
        .command
        .iter()
        .skip(1)
        .take_while(|word| word.starts_with('-'));
    let isolated = flags
        .take(4)
        .filter(|word| !["--", "-W", "-X"].iter().any(|other| word.starts_with(other)))
        .any(|word| word.contains(['s', 'I']));
    if off || isolated {
        return None;
    }
    let base = (process.variable)("PYTHONUSERBASE")
        .filter(|base| !base.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from((process.variable)("HOME")?).join(".local")))?;
    Some(base.join("lib").join(library).join("site-packages"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct TempProject(PathBuf);

    impl TempProject {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("taskdiag-python-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(fs::canonicalize(root).unwrap())
        }

        fn file(&self, path: &str, text: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        fn find(&self, executable: &Path, command: &[&str], variables: &[(&str, &str)]) -> Option<Python> {
            let command: Vec<String> = command.iter().map(ToString::to_string).collect();
            let variable = |name: &str| {
                variables
                    .iter()
                    .find(|(of, _)| *of == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            find(&Process {
                view: &View::default(),
                executable,
                command: &command,
                cwd: Some(&self.0),
                variable: &variable,
            })
        }
    }

    impl Drop for TempProject {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_virtual_environment_is_named_by_what_was_started() {
        let made = TempProject::new("venv");
        let real = made.file("base/bin/python3.11", "");
        fs::create_dir_all(made.0.join("base/lib/python3.11/site-packages")).unwrap();
        made.file(
            "app/.venv/pyvenv.cfg",
            "home = x\ninclude-system-site-packages = false\nversion = 3.11.7\n",
        );
        let site = made.0.join("app/.venv/lib/python3.11/site-packages");
        fs::create_dir_all(&site).unwrap();
        fs::create_dir_all(made.0.join("app/.venv/bin")).unwrap();
        std::os::unix::fs::symlink(&real, made.0.join("app/.venv/bin/python")).unwrap();
        let python = made
            .find(
                &real,
                &["app/.venv/bin/python", "app/.venv/bin/dramatiq", "x"],
                &[],
            )
            .unwrap();
        assert!(python.interpreter.virtual_environment);
        assert_eq!(python.interpreter.version.as_deref(), Some("3.11.7"));
        assert_eq!(
            python.interpreter.prefix,
            made.0.join("app/.venv").display().to_string()
        );
        assert_eq!(python.sites, std::slice::from_ref(&site));
        // One that has renamed itself is known by the variable, another program is not.
        let venv = made.0.join("app/.venv").display().to_string();
        let renamed = made.find(&real, &["gunicorn: master"], &[("VIRTUAL_ENV", &venv)]);
        assert_eq!(renamed.unwrap().sites, [site]);
        let plain = made
            .find(&real, &["base/bin/python3.11"], &[("VIRTUAL_ENV", &venv)])
            .unwrap();
        assert!(!plain.interpreter.virtual_environment);
        assert_eq!(plain.interpreter.version.as_deref(), Some("3.11"));
    }

    #[test]
    fn the_bases_own_header_knows_the_patch_level_best() {
        let made = TempProject::new("patch");
        let real = made.file("bin/python3.12", "");
        made.file(
            "include/python3.12/patchlevel.h",
            "#define PY_VERSION      \"3.12.4+\"\n",
        );
        made.file(
            "venv/pyvenv.cfg",
            "version_info = 3.12.1.final.0\nversion = 20.1\n",
        );
        let python = made.find(&real, &["venv/bin/python"], &[]).unwrap();
        assert_eq!(python.interpreter.version.as_deref(), Some("3.12.4+"));
        fs::remove_file(made.0.join("include/python3.12/patchlevel.h")).unwrap();
        let python = made.find(&real, &["venv/bin/python"], &[]).unwrap();
        assert_eq!(python.interpreter.version.as_deref(), Some("3.12.1"));
    }

    #[test]
    fn the_users_own_packages_are_seen_by_who_sees_them() {
        let made = TempProject::new("user");
        let real = made.file("usr/bin/python3.11", "");
        let user = made.0.join("home/.local/lib/python3.11/site-packages");
        let site = made.0.join("usr/lib/python3.11/site-packages");
        fs::create_dir_all(&user).unwrap();
        fs::create_dir_all(&site).unwrap();
        let home = made.0.join("home").display().to_string();
        let python = |command: &[&str], variables: &[(&str, &str)]| {
            made.find(&real, command, variables).unwrap().sites
        };
        assert_eq!(python(&["python3"], &[("HOME", &home)]), [user, site.clone()]);
        assert_eq!(
            python(&["python3", "-s", "x"], &[("HOME", &home)]),
            std::slice::from_ref(&site)
        );
        let off = [("HOME", home.as_str()), ("PYTHONNOUSERSITE", "1")];
        assert_eq!(python(&["python3"], &off), [site]);
    }

    #[test]
    fn what_is_no_python_is_not_guessed() {
        let made = TempProject::new("none");
        let real = made.file("bin/node", "");
        assert_eq!(made.find(&real, &["node"], &[]), None);
    }
}
