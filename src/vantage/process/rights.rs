//! What a process itself may read. Root may read everything, and a process may put links in our way: what
//! its owner could not read is none of its own.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of a file's mode.
const READ: u32 = 0o4;
const PASS: u32 = 0o1;

/// Who a process is to the file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rights {
    uid: u32,
    groups: Vec<u32>,
}

impl Rights {
    pub(super) fn of(pid: i32) -> Option<Self> {
        Self::from_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    pub(super) fn from_status(status: &str) -> Option<Self> {
        // Real, effective, saved, and that of the file system.
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(
                line.split_whitespace()
                    .filter_map(|number| number.parse().ok())
                    .collect(),
            )
        };
        let mut groups = numbers("Groups:").unwrap_or_default();
        groups.extend(numbers("Gid:")?.get(3));
        Some(Self {
            uid: *numbers("Uid:")?.get(3)?,
            groups,
        })
    }

    pub(super) fn may_read(&self, file: &Metadata) -> bool {
        self.may(READ, file.uid(), file.gid(), file.mode())
    }

    /// Whether it may go to where this lies. `path` has no links.
    pub(super) fn may_reach(&self, path: &Path) -> bool {
        let may_pass = |folder: &Path| {
            std::fs::metadata(folder).is_ok_and(|at| self.may(PASS, at.uid(), at.gid(), at.mode()))
        };
        self.uid == 0 || path.ancestors().skip(1).all(may_pass)
    }

    /// `bit` as others have it.
    fn may(&self, bit: u32, owner: u32, group: u32, mode: u32) -> bool {
        let bit = match () {
            () if self.uid == 0 => return true,
            () if self.uid == owner => bit << 6,
            () if self.groups.contains(&group) => bit << 3,
            () => bit,
        };
        mode & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_would_decide() {
        let status = "Name:\tx\nUid:\t7\t7\t7\t65534\nGid:\t7\t7\t7\t65534\nGroups:\t4 27 \n";
        let rights = Rights::from_status(status).expect("rights");
        for (owner, group, mode, may) in [
            (0, 0, 0o600, false),
            (0, 0, 0o644, true),
            (65534, 0, 0o400, true),
            (65534, 0, 0o044, false),
            (0, 27, 0o640, true),
            (0, 65534, 0o640, true),
            (0, 27, 0o604, false),
        ] {
            assert_eq!(
                rights.may(READ, owner, group, mode),
                may,
                "{owner} {group} {mode:o}"
            );
        }
        assert!(
            Rights::from_status("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
                .expect("root's")
                .may(READ, 1, 1, 0)
        );
    }
}
