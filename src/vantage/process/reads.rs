//! Which variables of its environment a program's own code names: a switch that nobody looks at
//! switches nothing.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexSet};

use crate::bounded;

/// Beyond these a project is not read.
const MOST_FILES: usize = 3_000;
const MOST_BYTES: u64 = 32 << 20;
const DEEPEST: usize = 12;

type Answers = HashMap<(Vec<PathBuf>, Vec<String>, Option<String>), Vec<String>>;

/// The package of `package.module:application`, as web servers are told of it.
fn package_of(word: &str) -> Option<&str> {
    let (module, application) = word.split_once(':')?;
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let application = application.split('(').next()?;
    (module.split('.').all(is_name) && is_name(application)).then(|| module.split('.').next())?
}

static IMPORTS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)").ok());

/// Code does not change while it is watched.
static KNOWN: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);

/// Of these names the ones that stand as a word in a Python file of the process's folder or of its
/// `PYTHONPATH`. That a name is not among them proves nothing: code may lie elsewhere.
/// Where its command names a module, only that one's package counts, and what it imports from there.
pub fn read_by(pid: i32, command: &[String], names: &[&str], python_path: Option<&OsStr>) -> Vec<String> {
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
    let module = command.iter().find_map(|word| package_of(word));
    let key = (key.0, key.1, module.map(str::to_owned));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(key)
        .or_insert_with(|| search(folders, names, module))
        .clone()
}

/// Files by the package they are in, or the module they are.
fn own_files(folders: Vec<PathBuf>) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut folders: Vec<(PathBuf, usize, Option<String>)> =
        folders.into_iter().map(|folder| (folder, 0, None)).collect();
    let mut files = 0;
    while let Some((folder, depth, package)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            let package = || {
                package
                    .clone()
                    .unwrap_or_else(|| name.trim_end_matches(".py").to_owned())
            };
            if kind.is_dir() && depth < DEEPEST && !is_others(&name, &entry.path()) {
                folders.push((entry.path(), depth + 1, Some(package())));
            }
            // A link or a pipe is not the project's own text.
            if kind.is_file() && name.ends_with(".py") && !is_a_test(&name) && files < MOST_FILES {
                files += 1;
                found.entry(package()).or_default().push(entry.path());
            }
        }
    }
    found
}

fn is_a_test(name: &str) -> bool {
    name == "conftest.py" || name.starts_with("test_") || name.ends_with("_test.py")
}

fn search(folders: Vec<PathBuf>, names: &[&str], package: Option<&str>) -> Vec<String> {
    let patterns = names
        .iter()
        .map(|name| format!(r"(?i)\b{}\b", regex::escape(name)));
    let Ok(words) = RegexSet::new(patterns) else {
        return Vec::new();
    };
    let mut found = vec![false; names.len()];
    let mut files = own_files(folders);
    let package = package.filter(|package| files.contains_key(*package));
    let mut wanted: Vec<String> = match package {
        Some(package) => vec![package.to_owned()],
        None => files.keys().cloned().collect(),
    };
    let mut bytes = 0;
    while let Some(package) = wanted.pop() {
        for path in files.remove(&package).unwrap_or_default() {
            if bytes >= MOST_BYTES {
                break;
            }
            let mut text = Vec::new();
            let read = bounded::open(&path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
            bytes += text.len() as u64;
            let text = String::from_utf8_lossy(&text);
            if read.is_ok() {
                for index in &words.matches(&text) {
                    found[index] = true;
                }
            }
            let imports = IMPORTS.iter().flat_map(|pattern| pattern.captures_iter(&text));
            wanted.extend(imports.map(|import| import[1].to_owned()));
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
    fn the_package_that_a_server_is_told_of() {
        for (word, package) in [
            ("paper.web:app", Some("paper")),
            ("main:create_app()", Some("main")),
            ("127.0.0.1:8000", None),
            ("http://x:80", None),
            ("--port", None),
        ] {
            assert_eq!(package_of(word), package, "{word}");
        }
    }

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
        assert_eq!(search(vec![folder.clone()], &names, None), ["DRAMATIQ_TESTING"]);
        assert!(search(vec![folder.join("nowhere")], &names, None).is_empty());
        // Beside it lie scripts that it does not import.
        write("shop/web.py", "import os\nfrom common import x\n");
        write("common.py", "UNIT_TESTS\n");
        let of_the_shop = search(vec![folder.clone()], &names, Some("shop"));
        assert_eq!(of_the_shop, ["UNIT_TESTS"]);
        assert_eq!(
            search(vec![folder.clone()], &names, Some("app")),
            ["DRAMATIQ_TESTING"]
        );
        fs::remove_dir_all(&folder).expect("removed");
    }
}
