//! Which variables of its environment a program's own code names: a switch that nobody looks at
//! switches nothing.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::RegexSet;

/// Beyond these a project is not read: nothing is said then.
const MOST_FILES: usize = 3_000;
const MOST_BYTES: u64 = 32 << 20;
const DEEPEST: usize = 12;

type Answers = HashMap<(PathBuf, Vec<String>), Option<Vec<String>>>;

/// Code does not change while it is watched.
static KNOWN: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);

/// Of these names the ones that stand as a word in a Python file below the process's folder; `None`
/// where not all of it could be read.
pub fn read_by(pid: i32, names: &[&str]) -> Option<Vec<String>> {
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let key = (folder, names.iter().map(|name| (*name).to_owned()).collect());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(key)
        .or_insert_with(|| search(Path::new(&format!("/proc/{pid}/cwd/")), names))
        .clone()
}

fn search(folder: &Path, names: &[&str]) -> Option<Vec<String>> {
    let words = RegexSet::new(
        names
            .iter()
            .map(|name| format!(r"(?i)\b{}\b", regex::escape(name))),
    )
    .ok()?;
    let mut found = vec![false; names.len()];
    let mut folders = vec![(folder.to_owned(), 0)];
    let (mut files, mut bytes) = (0, 0);
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                if !is_others(&name, &entry.path()) {
                    if depth == DEEPEST {
                        return None;
                    }
                    folders.push((entry.path(), depth + 1));
                }
                continue;
            }
            // A link or a pipe is not the project's own text.
            if !kind.is_file() || !name.ends_with(".py") {
                continue;
            }
            files += 1;
            let mut text = Vec::new();
            let file = fs::File::open(entry.path()).ok()?;
            file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
            bytes += text.len() as u64;
            if files > MOST_FILES || bytes > MOST_BYTES {
                return None;
            }
            for index in &words.matches(&String::from_utf8_lossy(&text)) {
                found[index] = true;
            }
        }
    }
    let read = names.iter().zip(&found).filter(|(_, found)| **found);
    Some(read.map(|(name, _)| (*name).to_owned()).collect())
}

/// Installed packages, and what no project imports.
fn is_others(name: &str, folder: &Path) -> bool {
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
        assert_eq!(search(&folder, &names), Some(vec!["DRAMATIQ_TESTING".to_owned()]));
        assert_eq!(search(&folder.join("nowhere"), &names), None);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
