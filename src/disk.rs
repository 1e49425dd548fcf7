//! Room for what started programs print: on a full disk each print fails, and with it what they do.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// So much must be free before anything is started.
pub(crate) const NEEDED: u64 = 4 << 20;
/// With less than this left, writes fail.
const NONE: u64 = 64 << 10;

/// Nothing more can be written below this path.
pub fn is_full(path: &Path) -> bool {
    free(path).is_some_and(|free| free < NONE)
}

/// Bytes that this user may still write there.
#[allow(unsafe_code)]
pub(crate) fn free(path: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the kernel fills the struct or says that it did not.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    let answer = unsafe { libc::statvfs(path.as_ptr(), &mut stat) };
    // SAFETY: it cannot fail. Some blocks are for root only.
    let blocks = match unsafe { libc::geteuid() } {
        0 => stat.f_bfree,
        _ => stat.f_bavail,
    };
    // Not u64 everywhere.
    #[allow(clippy::useless_conversion)]
    let (blocks, size) = (u64::from(blocks), u64::from(stat.f_frsize));
    (answer == 0).then(|| blocks.saturating_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told() {
        assert!(free(Path::new("/tmp")).is_some_and(|free| free > NONE));
        assert!(
            !is_full(Path::new("/nowhere")),
            "what cannot be asked is not full"
        );
        assert!(is_full(Path::new("/proc")), "nothing can be written there");
    }
}
