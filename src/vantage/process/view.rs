//! Files as a process sees them: a container's `/usr/lib` is another folder than ours.

use std::fs::Metadata;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use super::rights::Rights;

/// The file system of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Where its `/` lies for us; empty: it is ours.
    root: PathBuf,
    /// What it may read; `None`: whatever we may.
    rights: Option<Rights>,
}

/// As many symbolic links as the kernel follows.
const MOST_LINKS: usize = 40;

impl View {
    /// `None`: the process does not let us look.
    pub fn of(pid: i32) -> Option<Self> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
        let theirs = namespace(&pid.to_string()).ok()?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let is_ours = namespace("self").is_ok_and(|ours| ours == theirs)
            && std::fs::read_link(&root).is_ok_and(|target| target == Path::new("/"));
        Some(Self {
            root: if is_ours { PathBuf::new() } else { root },
            rights: Rights::of(pid),
        })
    }

    /// Where a path of the process lies for us, links followed as the process would: an absolute
    /// one begins at its root, and `..` does not leave it.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        if self.root.as_os_str().is_empty() {
            return std::fs::canonicalize(path).ok();
        }
        Some(self.outside(&self.resolve(path)?))
    }

    /// The path behind all links, in the process's own words.
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        if self.root.as_os_str().is_empty() {
            return std::fs::canonicalize(path).ok();
        }
        let mut left: Vec<std::ffi::OsString> = parts(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(&part);
            let metadata = std::fs::symlink_metadata(self.outside(&at)).ok()?;
            if !metadata.is_symlink() {
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            let target = std::fs::read_link(self.outside(&at)).ok()?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(parts(&target));
        }
        Some(at)
    }

    fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether the process itself may read what lies there.
    fn permits(&self, path: &Path, at: std::io::Result<Metadata>) -> bool {
        let Some(rights) = &self.rights else {
            return true;
        };
        rights.may_reach(path) && at.is_ok_and(|at| rights.may_read(&at))
    }

    /// Where it lies that was opened: whoever owns a folder may have put a link in its place meanwhile. (Of another
    /// root's files our kernel names no path that is one of ours.)
    fn opened(&self, file: &std::fs::File, path: PathBuf) -> Option<PathBuf> {
        match self.root.as_os_str().is_empty() {
            true => std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok(),
            false => Some(path),
        }
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        self.real(path).is_some_and(|path| path.is_dir())
    }

    pub fn is_file(&self, path: &Path) -> bool {
        self.real(path).is_some_and(|path| path.is_file())
    }

    /// The beginning of a regular file; a pipe or a device would never end.
    pub fn read(&self, path: &Path, most: u64) -> Option<String> {
        use std::io::Read as _;
        let path = self.real(path)?;
        let file = crate::bounded::open(&path).ok()?;
        if !self.permits(&self.opened(&file, path)?, file.metadata()) {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Names in a folder, sorted.
    pub fn list(&self, path: &Path, most: usize) -> Vec<String> {
        let Some(path) = self.real(path) else {
            return Vec::new();
        };
        if !self.permits(&path, path.metadata()) {
            return Vec::new();
        }
        let Some(entries) = std::fs::read_dir(&path).ok() else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .take(most)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let root = std::env::temp_dir().join(format!("taskdiag-view-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("opt/app")).unwrap();
        std::fs::write(root.join("opt/app/file"), "inside").unwrap();
        std::os::unix::fs::symlink("/opt/app", root.join("app")).unwrap();
        std::os::unix::fs::symlink("../../../../opt/app/file", root.join("up")).unwrap();
        std::os::unix::fs::symlink("/loop", root.join("loop")).unwrap();
        let view = View {
            root: root.clone(),
            rights: None,
        };
        assert_eq!(view.read(Path::new("/app/file"), 100).as_deref(), Some("inside"));
        assert_eq!(view.read(Path::new("/up"), 3).as_deref(), Some("ins"));
        assert_eq!(
            view.resolve(Path::new("/app/../app")),
            Some(PathBuf::from("/opt/app"))
        );
        assert_eq!(view.read(Path::new("/loop"), 100), None);
        assert_eq!(view.list(Path::new("/app"), 10), ["file"]);
        assert!(!view.is_file(Path::new("/app")) && view.is_dir(Path::new("/app")));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_pipe_is_not_read() {
        let path = std::env::temp_dir().join(format!("taskdiag-view-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(View::default().read(&path, 10), None);
        std::fs::remove_file(&path).unwrap();
    }

    /// Root looks at somebody else's process, whose folder leads to what only root may read.
    #[test]
    fn nothing_is_read_that_its_owner_may_not() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = std::env::temp_dir().join(format!("taskdiag-view-rights-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (site, closed) = (folder.join("site"), folder.join("closed"));
        std::fs::create_dir_all(&site).unwrap();
        std::fs::create_dir_all(&closed).unwrap();
        let write = |path: &Path, mode: u32| {
            std::fs::write(path, "Name: of root").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write(&folder.join("secret"), 0o600);
        write(&closed.join("open"), 0o644);
        write(&site.join("own"), 0o644);
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        symlink("../secret", site.join("link")).unwrap();
        symlink("link", site.join("second")).unwrap();
        std::fs::hard_link(folder.join("secret"), site.join("hard")).unwrap();
        symlink(&closed, site.join("folder")).unwrap();
        symlink("/proc/self/environ", site.join("environ")).unwrap();
        symlink("/proc/self/mem", site.join("memory")).unwrap();
        symlink(
            format!(
                "/proc/{}/root{}",
                std::process::id(),
                folder.join("secret").display()
            ),
            site.join("root"),
        )
        .unwrap();
        let held = std::fs::File::open(folder.join("secret")).unwrap();
        symlink(
            format!("/proc/self/fd/{}", held.as_raw_fd()),
            site.join("descriptor"),
        )
        .unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(site.join("fifo"))
                .status()
                .unwrap()
                .success()
        );
        let stranger = View {
            root: PathBuf::new(),
            rights: Rights::from_status("Uid:\t9\t9\t9\t65534\nGid:\t9\t9\t9\t65534\nGroups:\t\n"),
        };
        for name in [
            "link",
            "second",
            "hard",
            "folder/open",
            "environ",
            "memory",
            "root",
            "descriptor",
            "fifo",
        ] {
            assert_eq!(stranger.read(&site.join(name), 100), None, "{name}");
        }
        assert_eq!(stranger.list(&site.join("folder"), 10), [""; 0]);
        assert!(stranger.read(&site.join("own"), 100).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
