//! From which folder a process imports the application that its command line names: two folders with
//! the same package are how an API and its worker come to run different code.

use std::path::{Path, PathBuf};

use super::view::View;
use crate::framework;
use crate::timeline::environment::Code;

/// What a module is looked for in.
pub struct ImportPath<'a> {
    pub view: &'a View,
    pub cwd: Option<&'a Path>,
    /// `PYTHONPATH`, as it stands.
    pub python_path: Option<&'a str>,
    pub sites: &'a [PathBuf],
    /// What `.pth` files and development installs add.
    pub added: &'a [PathBuf],
}

/// Programs that import a module named on their command line; never the application themselves.
const LAUNCHERS: &[&str] = &[
    "daphne",
    "debugpy",
    "fastapi",
    "flask",
    "granian",
    "gunicorn",
    "hypercorn",
    "uvicorn",
    "uwsgi",
];

pub fn find(command: &[String], path: &ImportPath<'_>) -> Option<Code> {
    let folders = folders(command, path);
    let mut best: Option<(usize, Code)> = None;
    for module in modules(command) {
        let root = module.split(['.', ':']).next().unwrap_or_default();
        let mut found: Vec<(usize, String)> = Vec::new();
        for (index, folder) in folders.iter().enumerate() {
            if has_module(path.view, folder, root) {
                let shown = path.view.resolve(folder).unwrap_or_else(|| folder.clone());
                let shown = shown.display().to_string();
                if !found.iter().any(|(_, other)| *other == shown) {
                    found.push((index, shown));
                }
            }
        }
        if let Some((index, directory)) = found.first().cloned() {
            // `package.module:app` is said on purpose; a plain word may be an option's value.
            let rank = if module.contains(':') {
                0
            } else {
                1 + usize::from(!module.contains('.'))
            };
            let in_site = path.sites.contains(&folders[index]);
            let rank = rank + if in_site { 10 } else { 0 };
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                let code = Code {
                    module: module.to_owned(),
                    directory,
                    also_in: found.into_iter().skip(1).map(|(_, folder)| folder).collect(),
                    changed: Vec::new(),
                };
                best = Some((rank, code));
            }
        }
    }
    best.map(|(_, code)| code)
}

/// Words of the command line that may name a module.
fn modules(command: &[String]) -> Vec<&str> {
    let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    command
        .iter()
        .skip(1)
        .map(String::as_str)
        .filter(|word| {
            let (module, attribute) = word.split_once(':').unwrap_or((word, ""));
            let is_name = |part: &str| {
                part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            module.len() < 300
                && module.split('.').all(is_name)
                && attribute
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_.()".contains(c))
                && !LAUNCHERS.contains(&name(word).as_str())
                && !framework::is_worker_program(&name(word))
        })
        .take(20)
        .collect()
}

/// The import path, front to back: every launcher puts the working directory (or the folder it is
/// told) first, a plain script its own.
fn folders(command: &[String], path: &ImportPath<'_>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let absolute = |folder: &str| match path.cwd {
        Some(cwd) => cwd.join(folder),
        None => PathBuf::from(folder),
    };
    let mut words = command.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        };
        // uvicorn; dramatiq; gunicorn
        if matches!(flag, "--app-dir" | "--path" | "-P" | "--pythonpath" | "--chdir")
            && let Some(value) = value.or_else(|| words.peek().copied())
        {
            folders.push(absolute(value));
        }
    }
    folders.extend(path.cwd.map(Path::to_owned));
    if let Some(script) = command.iter().skip(1).find(|word| word.ends_with(".py")) {
        folders.extend(absolute(script).parent().map(Path::to_owned));
    }
    if let Some(python_path) = path.python_path {
        folders.extend(
            std::env::split_paths(python_path)
                .filter(|folder| !folder.as_os_str().is_empty())
                .map(|folder| absolute(&folder.to_string_lossy())),
        );
    }
    folders.extend(path.sites.iter().cloned());
    for folder in path.added {
        folders.push(folder.clone());
        folders.push(folder.join("src"));
    }
    folders
}

/// A package, a namespace package, or a file.
fn has_module(view: &View, folder: &Path, root: &str) -> bool {
    view.is_file(&folder.join(root).join("__init__.py"))
        || view.is_file(&folder.join(format!("{root}.py")))
        || (view.is_dir(&folder.join(root))
            && view
                .list(&folder.join(root), 10_000)
                .iter()
                .any(|name| name.ends_with(".py")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_folder_with_the_package_wins() {
        let root = std::env::temp_dir().join(format!("taskdiag-code-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for file in [
            "here/app/__init__.py",
            "there/app/tasks.py",
            "site/app/__init__.py",
            "site/uvicorn/__init__.py",
            "dev/src/lib/__init__.py",
            "here/worker.py",
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let root = fs::canonicalize(root).unwrap();
        let of = |command: &str, cwd: &str, python_path: Option<&str>| {
            let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let cwd = root.join(cwd);
            let python_path = python_path.map(|folder| root.join(folder).display().to_string());
            let found = find(
                &command,
                &ImportPath {
                    view: &View::default(),
                    cwd: Some(&cwd),
                    python_path: python_path.as_deref(),
                    sites: &[root.join("site")],
                    added: &[root.join("dev")],
                },
            )?;
            let inside = |folder: &str| {
                folder
                    .strip_prefix(&format!("{}/", root.display()))
                    .unwrap()
                    .to_owned()
            };
            let also: Vec<String> = found.also_in.iter().map(|folder| inside(folder)).collect();
            Some(format!(
                "{} in {} / {}",
                found.module,
                inside(&found.directory),
                also.join(" ")
            ))
        };
        assert_eq!(
            of(
                "/v/bin/python /v/bin/uvicorn app.main:app --port 80",
                "here",
                None
            )
            .unwrap(),
            "app.main:app in here / site"
        );
        assert_eq!(
            of("python -m dramatiq -v app.tasks", "nowhere", Some("there")).unwrap(),
            "app.tasks in there / site"
        );
        assert_eq!(
            of(
                "python /v/bin/uvicorn app.main:app --app-dir ../there",
                "here",
                None
            )
            .unwrap(),
            "app.main:app in there / here site"
        );
        assert_eq!(
            of("python -m uvicorn lib:app", "here", None).unwrap(),
            "lib:app in dev/src / "
        );
        assert_eq!(
            of("python /v/bin/dramatiq worker", "here", None).unwrap(),
            "worker in here / "
        );
        assert_eq!(of("python -m uvicorn", "here", None), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
