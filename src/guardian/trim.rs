//! Keeps the logs of what was started from filling the disk.
//!
//! The front of a log that is too long is given back to the file system as a hole (fallocate(2)):
//! unlike truncation that moves nothing, so whoever writes or reads at the end notices nothing, and
//! what was read is in the timeline already. A reader that was too slow finds zeros, and says so.
//! Where the file system has no holes (NFS before 4.2, FAT) the logs are not limited.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A log may take so much of the disk …
const MOST: u64 = 128 * 1024 * 1024;
/// … and keeps so much of its end when it is cut. Readers are given up as too slow before that.
const KEPT: u64 = 96 * 1024 * 1024;
/// Holes are made of whole blocks; every usual block size divides this.
const BLOCK: u64 = 1024 * 1024;

/// Cuts every log of this folder that has become too long.
pub(super) fn logs(folder: &Path) {
    cut(folder, MOST, KEPT);
}

/// What a file really takes of the disk.
pub(super) fn size(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

fn cut(folder: &Path, most: u64, kept: u64) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Not through a link: it is the folder's own files that are ours.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && size(&metadata) > most {
            let until = metadata.len().saturating_sub(kept) / BLOCK * BLOCK;
            if let Ok(file) = File::options().write(true).open(entry.path()) {
                punch(&file, until);
            }
        }
    }
}

#[allow(unsafe_code)]
fn punch(file: &File, until: u64) {
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call on a descriptor that is open.
    unsafe {
        libc::fallocate(
            file.as_raw_fd(),
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            0,
            until as libc::off_t,
        );
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file.as_raw_fd(), until);
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_front_goes_and_the_end_stays_where_it_was() {
        let folder = std::env::temp_dir().join(format!("trim-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("worker.log");
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("a log");
        let line = [b'x'; 1 << 20];
        for _ in 0..8 {
            log.write_all(&line).expect("written");
        }
        let before = std::fs::metadata(&path).expect("it is there");
        cut(&folder, 9 << 20, 2 << 20);
        assert_eq!(
            size(&std::fs::metadata(&path).expect("it")),
            size(&before),
            "short enough"
        );
        cut(&folder, 4 << 20, 2 << 20);
        log.write_all(b"the end").expect("written");
        let text = std::fs::read(&path).expect("read");
        assert_eq!(text.len(), (8 << 20) + 7, "offsets stay");
        assert!(
            text.ends_with(b"xthe end") && text[0] == 0 && text[(6 << 20) - 1] == 0 && text[6 << 20] == b'x'
        );
        assert!(
            size(&std::fs::metadata(&path).expect("it")) < 4 << 20,
            "the disk has it back"
        );
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
