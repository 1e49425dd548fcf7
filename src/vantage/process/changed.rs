//! Which files of an application have changed since a process loaded them, and which tasks they declare now.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::reads::is_others;
use super::view::View;
use crate::bounded::TextFile;
use crate::python::{self, Actor};
use crate::timeline::environment::{ChangedFile, Code, DeclaredTask};
use crate::timeline::scrub::printable;

/// Beyond these a project is not looked through.
const MOST_ENTRIES: usize = 5_000;
const DEEPEST: usize = 8;
/// So many files are read, the youngest first: a deployment changes them all.
const MOST_FILES: usize = 40;
const MOST_TASKS: usize = 40;
const MOST_BYTES: u64 = 256 * 1024;
/// A process's start is known to a hundredth of a second, a file's change to whatever its file system keeps.
const APART_MS: i64 = 1_000;

/// Only files that declare tasks are told of.
pub fn since(started_at_ms: i64, code: &Code, view: &View) -> Vec<ChangedFile> {
    let directory = Path::new(&code.directory);
    let installed = ["site-packages", "dist-packages"];
    let root = match installed.iter().any(|name| directory.ends_with(name)) {
        true => directory.join(code.module.split(['.', ':']).next().unwrap_or_default()),
        false => directory.to_owned(),
    };
    let mut files = changed(&root, started_at_ms + APART_MS, view);
    files.sort_by_key(|(_, at_ms)| std::cmp::Reverse(*at_ms));
    files.truncate(MOST_FILES);
    let mut found: Vec<ChangedFile> = files
        .into_iter()
        .filter_map(|(path, at_ms)| {
            let tasks = tasks(directory, &path, view)?;
            Some(ChangedFile {
                path: printable(&path.display().to_string()),
                at_ms,
                tasks,
            })
        })
        .filter(|file| !file.tasks.is_empty())
        .collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn changed(root: &Path, since_ms: i64, view: &View) -> Vec<(PathBuf, i64)> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        for name in view.list(&folder, MOST_ENTRIES) {
            seen += 1;
            if seen > MOST_ENTRIES {
                return found;
            }
            let path = folder.join(&name);
            let Some(metadata) = view
                .real(&path)
                .and_then(|real| std::fs::symlink_metadata(real).ok())
            else {
                continue;
            };
            if metadata.is_dir() && depth < DEEPEST && !is_others(&name, &path) {
                folders.push((path, depth + 1));
            } else if metadata.is_file() && name.ends_with(".py") {
                let at_ms = placed_at_ms(&metadata);
                if at_ms > since_ms {
                    found.push((path, at_ms));
                }
            }
        }
    }
    found
}

/// What was copied with its times kept is new here all the same.
fn placed_at_ms(metadata: &Metadata) -> i64 {
    let modified = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    let placed = metadata.ctime() * 1000 + metadata.ctime_nsec() / 1_000_000;
    modified.max(placed)
}

/// Names of tasks by the functions that they are made of, as a file gives them and has not changed them since a process
/// started. A function of which two are made is left out.
pub(super) fn named_in(path: &Path, started_at_ms: i64, view: &View) -> BTreeMap<String, String> {
    let is_as_loaded = || {
        let metadata = std::fs::metadata(view.real(path)?).ok()?;
        (placed_at_ms(&metadata) <= started_at_ms).then_some(())
    };
    let text = is_as_loaded().and_then(|()| view.read(path, MOST_BYTES));
    let place = path.display().to_string();
    let files = text.map(|text| TextFile { place, text });
    let mut named: BTreeMap<String, Option<String>> = BTreeMap::new();
    for actor in python::scan(files.as_slice(), &[]).actors {
        let name = actor.is_named.then_some(actor.name);
        named
            .entry(actor.function)
            .and_modify(|known| *known = known.take().filter(|known| Some(known) == name.as_ref()))
            .or_insert(name);
    }
    let names = named.into_iter();
    names
        .filter_map(|(function, name)| Some((function, name?)))
        .collect()
}

fn tasks(directory: &Path, path: &Path, view: &View) -> Option<Vec<DeclaredTask>> {
    let place = path.strip_prefix(directory).ok()?.display().to_string();
    let text = view.read(path, MOST_BYTES)?;
    let declared = python::scan(&[TextFile { place, text }], &[]).actors;
    let declare = |actor: Actor| {
        let positional = actor.parameters.iter().filter(|one| !one.by_keyword).count();
        // Where it is called after its module, that is the way from the folder of imports.
        let named = actor.framework.source.is_named_by_module && !actor.is_named;
        DeclaredTask {
            name: match named {
                true => format!("{}.{}", actor.module, actor.function),
                false => actor.name,
            },
            positional: positional + usize::from(actor.takes_self),
            parameters: actor.parameters.into_iter().map(|one| one.name).collect(),
            function: actor.function,
        }
    };
    Some(declared.into_iter().take(MOST_TASKS).map(declare).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_younger_than_the_process_and_declare_tasks() {
        let folder = std::env::temp_dir().join(format!("taskdiag-changed-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let tasks = "from celery import shared_task\n\n@shared_task(bind=True)\ndef pack(self, order, *, gift=False):\n    pass\n\n@shared_task(name='shop:weigh')\ndef weigh_it(order):\n    pass\n";
        write("shop/tasks.py", tasks);
        write("shop/models.py", "class Order:\n    pass\n");
        write("venv/lib/site-packages/other/tasks.py", tasks);
        let folder = std::fs::canonicalize(&folder).expect("there");
        let code = Code {
            module: "shop".into(),
            directory: folder.display().to_string(),
            ..Code::default()
        };
        let now = jiff::Timestamp::now().as_millisecond();
        let found = since(now - 60_000, &code, &View::default());
        let [file] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(file.path.ends_with("/shop/tasks.py"), "{}", file.path);
        let [pack, weigh] = file.tasks.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((pack.name.as_str(), pack.positional), ("shop.tasks.pack", 2));
        assert_eq!(pack.parameters, ["order", "gift"]);
        assert_eq!(
            (weigh.name.as_str(), weigh.function.as_str()),
            ("shop:weigh", "weigh_it")
        );
        let path = folder.join("shop/tasks.py");
        let named = |started_at_ms: i64| named_in(&path, started_at_ms, &View::default());
        assert_eq!(
            named(now + 60_000),
            BTreeMap::from([("weigh_it".into(), "shop:weigh".into())])
        );
        assert!(named(now - 60_000).is_empty(), "changed since it was loaded");
        assert!(since(now + 60_000, &code, &View::default()).is_empty());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
