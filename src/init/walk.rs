//! Which files of a project are worth reading. Bounded in number, size, depth and time, so that a
//! home folder or a monorepo costs seconds at most; links are not followed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ignore::WalkBuilder;

use crate::bounded::{self, TextFile};

const MOST_ENTRIES: usize = 50_000;
const MOST_FILES: usize = 4_000;
const LARGEST: u64 = 512 * 1024;
const MOST_BYTES: usize = 64 << 20;
const DEEPEST: usize = 8;
const WITHIN: Duration = Duration::from_secs(5);

/// Folders of other people's code, or of nothing that was written by hand.
const SKIPPED: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".nox",
    ".venv",
    "venv",
    "node_modules",
    "site-packages",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".idea",
    ".terraform",
    ".cargo",
    ".rustup",
    ".npm",
    ".cache",
    "target",
    "vendor",
];

/// Of the machine, not of a project: in the way when the root is `/`.
const SYSTEM: &[&str] = &["/proc", "/sys", "/dev"];

/// Folders in which a worker's or an API's log is looked for.
const LOG_FOLDERS: &[&str] = &["", "log", "logs", "var/log", "tmp"];

#[derive(Debug, Default)]
pub struct ProjectFiles {
    pub root: PathBuf,
    pub python: Vec<TextFile>,
    pub compose: Vec<TextFile>,
    /// `.env` and its kin, which are usually git-ignored; nearest to the root first.
    pub dotenv: Vec<TextFile>,
    /// Examples of such files, which set nothing.
    pub examples: Vec<TextFile>,
    /// Where commands and statements are written down: scripts, Procfile, README, SQL.
    pub others: Vec<TextFile>,
    /// A committed OpenAPI document.
    pub openapi: Vec<TextFile>,
    /// Python environments, relative.
    pub environments: Vec<String>,
    /// Log files, relative.
    pub logs: Vec<String>,
    /// What could not be read, and what was left out.
    pub complaints: Vec<String>,
}

pub fn walk(root: &Path) -> ProjectFiles {
    let mut project = ProjectFiles {
        root: root.to_owned(),
        ..ProjectFiles::default()
    };
    let began = Instant::now();
    let mut folders: BTreeSet<PathBuf> = BTreeSet::from([root.to_owned()]);
    let mut files: Vec<PathBuf> = Vec::new();
    let walker = WalkBuilder::new(root)
        .hidden(false)
        .parents(false)
        .require_git(false)
        .follow_links(false)
        .max_depth(Some(DEEPEST))
        .filter_entry(|entry| {
            let name = entry.file_name().to_string_lossy();
            let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            !folder
                || entry.depth() == 0
                || !(SYSTEM.iter().any(|system| entry.path() == Path::new(system))
                    || SKIPPED.contains(&name.as_ref())
                    || entry.path().join("pyvenv.cfg").exists())
        })
        .build();
    for (count, entry) in walker.enumerate() {
        if count >= MOST_ENTRIES || files.len() >= MOST_FILES || began.elapsed() > WITHIN {
            project.complaints.push(format!(
                "the project is large: only its first {count} files and folders were looked at"
            ));
            break;
        }
        match entry {
            Ok(entry) => match entry.file_type() {
                Some(kind) if kind.is_dir() => drop(folders.insert(entry.into_path())),
                Some(kind) if kind.is_file() && kind_of(&name(entry.path())).is_some() => {
                    files.push(entry.into_path());
                }
                _ => {}
            },
            Err(error) => project.complaints.push(said(root, &error.to_string())),
        }
    }
    // Git-ignored, and read all the same.
    for folder in &folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if kind_of(&name(&path)) == Some(FileKind::Dotenv) && path.is_file() && !files.contains(&path) {
                files.push(path);
            }
        }
    }
    files.sort_by_key(|path| (path.components().count(), path.clone()));
    let mut bytes = 0;
    for path in files {
        if bytes > MOST_BYTES {
            let text = "the project is large: its deepest files were not read";
            project.complaints.push(text.into());
            break;
        }
        let Some(text) = read(root, &path, &mut project.complaints) else {
            continue;
        };
        bytes += text.len();
        let file = TextFile {
            place: inside(root, &path),
            text,
        };
        match kind_of(&name(&path)) {
            Some(FileKind::Python) => project.python.push(file),
            Some(FileKind::Compose) => project.compose.push(file),
            Some(FileKind::Dotenv) => project.dotenv.push(file),
            Some(FileKind::Example) => project.examples.push(file),
            Some(FileKind::OpenApi) => project.openapi.push(file),
            _ => project.others.push(file),
        }
    }
    // Only what lies near the top: deeper ones belong to something else.
    let near: Vec<&PathBuf> = folders
        .iter()
        .filter(|folder| folder.components().count() <= root.components().count() + 1)
        .collect();
    project.environments = near
        .iter()
        .flat_map(|folder| environments(folder))
        .map(|path| inside(root, &path))
        .collect();
    project.logs = near
        .iter()
        .flat_map(|folder| LOG_FOLDERS.iter().map(|name| folder.join(name)))
        .flat_map(|folder| logs(&folder))
        .map(|path| inside(root, &path))
        .collect();
    for found in [&mut project.environments, &mut project.logs] {
        found.sort_by_key(|path| (path.matches('/').count(), path.clone()));
        found.dedup();
    }
    project
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Python,
    Compose,
    Dotenv,
    Example,
    OpenApi,
    Other,
}

fn kind_of(name: &str) -> Option<FileKind> {
    let lower = name.to_lowercase();
    let extension = lower.rsplit_once('.').map_or("", |(_, extension)| extension);
    let yaml = matches!(extension, "yml" | "yaml");
    if yaml && (lower.starts_with("compose.") || lower.starts_with("docker-compose")) {
        return Some(FileKind::Compose);
    }
    if matches!(
        lower.as_str(),
        "openapi.json" | "openapi.yaml" | "openapi.yml" | "swagger.json"
    ) {
        return Some(FileKind::OpenApi);
    }
    let template = ["example", "sample", "template", "dist", "test"]
        .iter()
        .any(|word| lower.split(['.', '-', '_']).any(|part| part == *word));
    if lower == ".env" || lower.starts_with(".env.") || extension == "env" {
        let is_test = lower.split(['.', '-', '_']).any(|part| part == "test");
        return match template {
            false => Some(FileKind::Dotenv),
            true => (!is_test).then_some(FileKind::Example),
        };
    }
    if template && lower.split(['.', '-', '_']).any(|part| part == "env") && extension != "py" {
        return Some(FileKind::Example);
    }
    if extension == "py" {
        return Some(FileKind::Python);
    }
    let known = [
        "procfile",
        "makefile",
        "justfile",
        "dockerfile",
        "readme",
        "pyproject.toml",
        "supervisord",
    ]
    .iter()
    .any(|word| lower.starts_with(word));
    (known
        || matches!(
            extension,
            "sh" | "bash" | "service" | "conf" | "md" | "rst" | "sql"
        ))
    .then_some(FileKind::Other)
}

fn environments(folder: &Path) -> Vec<PathBuf> {
    let tox = std::fs::read_dir(folder.join(".tox"))
        .into_iter()
        .flatten()
        .flatten();
    [".venv", "venv", "env", ".env"]
        .iter()
        .map(|name| folder.join(name))
        .chain(tox.map(|entry| entry.path()))
        // One that was made on another system has its programs elsewhere, and none of them runs here.
        .filter(|path| path.join("pyvenv.cfg").is_file())
        .filter(|path| path.join("bin/python").symlink_metadata().is_ok())
        .collect()
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(500)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log") && path.is_file())
        .collect()
}

fn read(root: &Path, path: &Path, complaints: &mut Vec<String>) -> Option<String> {
    let place = inside(root, path);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > LARGEST => {
            complaints.push(format!("{place} is too large to read"));
            return None;
        }
        _ => {}
    }
    match bounded::file(path, LARGEST) {
        // Bytes that are no text, and a file that is none, do no harm: nothing is found in them.
        Ok(bytes) if bytes.contains(&0) => None,
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            if kind_of(&name(path)) == Some(FileKind::Dotenv) {
                // A shell that sources it minds both.
                return Some(text.into_owned());
            }
            Some(text.trim_start_matches('\u{feff}').replace("\r\n", "\n"))
        }
        Err(error) => {
            complaints.push(format!("cannot read {place}: {error}"));
            None
        }
    }
}

/// One more file of the project, which another one names; not over its edge.
pub fn named(root: &Path, place: &str) -> Option<TextFile> {
    let root = root.canonicalize().ok()?;
    let path = root.join(place).canonicalize().ok()?;
    if !path.starts_with(&root) || !path.is_file() {
        return None;
    }
    let text = read(&root, &path, &mut Vec::new())?;
    Some(TextFile {
        place: place.to_owned(),
        text,
    })
}

fn said(root: &Path, text: &str) -> String {
    text.replace(&format!("{}/", root.display()), "")
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn inside(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_what_git_ignores_only_if_it_is_an_env_file() {
        let root = std::env::temp_dir().join(format!("taskdiag-walk-{}", std::process::id()));
        for folder in [
            "api/app",
            "worker",
            "node_modules/x",
            ".venv/lib",
            ".venv/bin",
            "env",
            "generated",
        ] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        for (path, text) in [
            (".gitignore", ".env\ngenerated/\n*.log\n"),
            (".env", "A=1\n"),
            (".env.example", "A=\n"),
            ("api/.env", "B=2\n"),
            ("api/app/main.py", "x = 1\n"),
            ("generated/old.py", "x = 1\n"),
            ("node_modules/x/y.py", ""),
            (".venv/pyvenv.cfg", ""),
            (".venv/bin/python", ""),
            ("env/pyvenv.cfg", "home = C:\\Python"),
            (".venv/lib/z.py", ""),
            ("worker/worker.log", "line\n"),
            ("compose.yaml", "\u{feff}services: {}\r\n"),
        ] {
            fs::write(root.join(path), text).expect("a file");
        }
        fs::write(root.join("binary.py"), b"\x00\xff\x00").expect("a file");
        std::os::unix::fs::symlink(&root, root.join("api/loop")).expect("a link");
        let project = walk(&root);
        fs::remove_dir_all(&root).expect("removed");
        let places = |files: &[TextFile]| files.iter().map(|file| file.place.clone()).collect::<Vec<_>>();
        assert_eq!(places(&project.python), ["api/app/main.py"]);
        assert_eq!(places(&project.dotenv), [".env", "api/.env"]);
        assert_eq!(project.environments, [".venv"]);
        assert_eq!(project.logs, ["worker/worker.log"]);
        assert_eq!(project.compose[0].text, "services: {}\n");
        assert!(project.complaints.is_empty(), "{:?}", project.complaints);
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_panic() {
        let project = walk(Path::new("/no/such/folder"));
        assert!(project.python.is_empty());
    }
}
