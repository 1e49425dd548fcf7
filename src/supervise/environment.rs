//! The environment a command is started in, and the file it means there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use crate::config::Program;

/// Ours, with what the program's section says: its variables, its Python first in `PATH`.
///
/// `PYTHONUNBUFFERED=1` is added, because a `print` to a file would otherwise come minutes late.
pub fn environment(
    ours: impl Iterator<Item = (OsString, OsString)>,
    program: &Program,
) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = ours.collect();
    env.insert("PYTHONUNBUFFERED".into(), "1".into());
    if let Some(python) = &program.python {
        env.insert("VIRTUAL_ENV".into(), python.into());
        env.remove(OsStr::new("PYTHONHOME"));
    }
    for (name, value) in &program.env {
        match value.expose_secret() {
            "" => env.remove(OsStr::new(name)),
            value => env.insert(name.into(), value.into()),
        };
    }
    if let Some(python) = &program.python {
        let bin = python.join("bin");
        let before = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let folders = std::iter::once(bin.clone())
            .chain(std::env::split_paths(&before).filter(|folder| *folder != bin && !before.is_empty()));
        if let Ok(path) = std::env::join_paths(folders) {
            env.insert("PATH".into(), path);
        }
    }
    env.into_iter().collect()
}

/// The file that a command's first word means, as a shell would find it; otherwise what was seen.
pub fn find(word: &str, env: &[(OsString, OsString)], cwd: &Path) -> Result<PathBuf, String> {
    if word.contains('/') {
        let path = cwd.join(word);
        return match executable(&path) {
            Ok(true) => Ok(path),
            Ok(false) => Err(format!("{} is not an executable file", path.display())),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.clone());
    let folders: Vec<PathBuf> = std::env::split_paths(&path.unwrap_or_default())
        .map(|folder| cwd.join(folder))
        .collect();
    let found = folders
        .iter()
        .map(|folder| folder.join(word))
        .find(|path| executable(path).unwrap_or(false));
    found.ok_or_else(|| match folders.as_slice() {
        [] => format!("`{word}` cannot be found: PATH is empty"),
        [only] => format!("`{word}` is not in {}", only.display()),
        [first, rest @ ..] => format!(
            "`{word}` is neither in {} nor in the {} other folders of PATH",
            first.display(),
            rest.len()
        ),
    })
}

fn executable(path: &Path) -> std::io::Result<bool> {
    let metadata = std::fs::metadata(path)?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The interpreter that a script's first line names, if that does not exist: the usual state of a
/// virtual environment that was moved, and the kernel says only "no such file".
pub fn missing_interpreter(script: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut start = [0; 256];
    let length = crate::bounded::open(script)
        .and_then(|mut file| file.read(&mut start))
        .ok()?;
    let line = start[..length]
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let words = String::from_utf8_lossy(line).into_owned();
    let interpreter = PathBuf::from(words.split_whitespace().next()?);
    (!interpreter.exists()).then_some(interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn program(python: Option<&str>, env: &[(&str, &str)]) -> Program {
        Program {
            part: "worker",
            command: vec!["dramatiq".into()],
            python: python.map(PathBuf::from),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())))
                .collect(),
            cwd: "/srv".into(),
            origins: BTreeMap::new(),
        }
    }

    fn built(program: &Program) -> BTreeMap<String, String> {
        let ours = [
            ("PATH", "/usr/bin:/bin"),
            ("PYTHONHOME", "/opt/py"),
            ("DRAMATIQ_TESTING", "1"),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.into(), value.into()));
        environment(ours, program)
            .into_iter()
            .map(|(name, value)| {
                (
                    name.into_string().expect("text"),
                    value.into_string().expect("text"),
                )
            })
            .collect()
    }

    #[test]
    fn python_comes_first_and_nothing_of_another_is_left() {
        let env = built(&program(Some("/srv/.venv"), &[]));
        assert_eq!(env["PATH"], "/srv/.venv/bin:/usr/bin:/bin");
        assert_eq!(env["VIRTUAL_ENV"], "/srv/.venv");
        assert!(!env.contains_key("PYTHONHOME"));
        assert_eq!(env["PYTHONUNBUFFERED"], "1");
        let without = built(&program(None, &[]));
        assert_eq!(without["PATH"], "/usr/bin:/bin");
        assert_eq!(without["PYTHONHOME"], "/opt/py");
    }

    #[test]
    fn variables_are_set_and_an_empty_value_unsets() {
        let env = built(&program(
            None,
            &[("DRAMATIQ_TESTING", ""), ("PYTHONUNBUFFERED", ""), ("A", "b")],
        ));
        assert!(!env.contains_key("DRAMATIQ_TESTING") && !env.contains_key("PYTHONUNBUFFERED"));
        assert_eq!(env["A"], "b");
    }

    #[test]
    fn a_path_of_its_own_stays_behind_its_python() {
        let env = built(&program(Some("/v"), &[("PATH", "/x:/v/bin")]));
        assert_eq!(env["PATH"], "/v/bin:/x");
        let empty = built(&program(Some("/v"), &[("PATH", "")]));
        assert_eq!(empty["PATH"], "/v/bin");
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let env = vec![("PATH".into(), "/nowhere:/bin".into())];
        assert_eq!(find("sh", &env, Path::new("/")), Ok("/bin/sh".into()));
        assert_eq!(find("bin/sh", &env, Path::new("/")), Ok("/bin/sh".into()));
        let missing = find("dramatiq-is-not-here", &env, Path::new("/")).expect_err("missing");
        assert!(
            missing.contains("/nowhere") && missing.contains("1 other"),
            "{missing}"
        );
        assert!(
            find("./etc/passwd", &env, Path::new("/")).is_err_and(|seen| seen.contains("not an executable"))
        );
    }
}
