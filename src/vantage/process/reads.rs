//! Which variables of its environment a program's own code names: a switch that nobody looks at
//! switches nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::RegexSet;

use crate::bounded;

/// Beyond these a project is not read.
const MOST_FILES: usize = 3_000;
const MOST_BYTES: u64 = 32 << 20;
const DEEPEST: usize = 12;

type Answers = HashMap<(Vec<PathBuf>, Vec<String>), Vec<String>>;

/// Code does not change while it is watched.
static KNOWN: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);

/// Of these names the ones that stand as a word in a Python file of the process's folder or of its
/// `PYTHONPATH`. That a name is not among them proves nothing: code may lie elsewhere.
pub fn read_by(pid: i32, names: &[&str], python_path: Option<&OsStr>) -> Vec<String> {
    let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
    let Ok(shown) = fs::read_link(&cwd) else {
        return Vec::new();
    };
    let below = |path: PathBuf| match path.strip_prefix("/") {
        Ok(inside) => PathBuf::from(format!("/proc/{pid}/root")).join(inside),
        Err(_) => cwd.join(path),
    };
    let added = python_path.map(std::env::split_paths).into_iter().flatten();
    let folders: Vec<PathBuf> = std::iter::once(cwd.join("")).chain(added.map(below)).collect();
    let key = (
        std::iter::once(shown)
            .chain(folders.iter().skip(1).cloned())
            .collect(),
        names.iter().map(|name| (*name).to_owned()).collect(),
    );
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with(|| search(folders, names)).clone()
}

fn search(folders: Vec<PathBuf>, names: &[&str]) -> Vec<String> {
    let patterns = names
        .iter()
        .map(|name| format!(r"(?i)\b{}\b", regex::escape(name)));
    let Ok(words) = RegexSet::new(patterns) else {
        return Vec::new();
    };
    let mut found = vec![false; names.len()];
    let mut folders: Vec<(PathBuf, usize)> = folders.into_iter().map(|folder| (folder, 0)).collect();
    let (mut files, mut bytes) = (0, 0);
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEEPEST && !is_others(&name, &entry.path()) {
                folders.push((entry.path(), depth + 1));
            }
            // A link or a pipe is not the project's own text.
            if !kind.is_file() || !name.ends_with(".py") || files >= MOST_FILES || bytes >= MOST_BYTES {
                continue;
            }
            files += 1;
            let mut text = Vec::new();
            let read =
                bounded::open(&entry.path()).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
            bytes += text.len() as u64;
            if read.is_ok() {
                for index in &words.matches(&String::from_utf8_lossy(&text)) {
                    found[index] = true;
                }
            }
        }
    }
    let read = names.iter().zip(&found).filter(|(_, found)| **found);
    read.map(|(name, _)| (*name).to_owned()).collect()
}

/// Installed packages, and what no project imports.
pub(super) fn is_others(name: &str, folder: &Path) -> bool {
    name.starts_with('.')
        || matches!(
            name,
            "site-packages" | "dist-packages" | "node_modules" | "__pycache__" | "tests" | "test"
        )
        || folder.join("pyvenv.cfg").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_the_projects_own_code_only() {
        let folder = std::env::temp_dir().join(format!("taskdiag-reads-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("app/settings.py", "if os.environ.get('DRAMATIQ_TESTING'): pass\n");
        write("app/more.py", "RETESTING = 1\n");
        write("venv/pyvenv.cfg", "");
        write("venv/lib/x.py", "UNIT_TESTS");
        write("tests/conftest.py", "UNIT_TESTS");
        let names = ["DRAMATIQ_TESTING", "TESTING", "UNIT_TESTS"];
        assert_eq!(search(vec![folder.clone()], &names), ["DRAMATIQ_TESTING"]);
        assert!(search(vec![folder.join("nowhere")], &names).is_empty());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
