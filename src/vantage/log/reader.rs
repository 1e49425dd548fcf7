//! One open file, read on from where it was read to.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::folder::{FOLD, Folder};
use super::quota::Quota;
use super::{BACKWARDS, CHUNK, MOST_AT_ONCE};
use crate::bounded;
use crate::vantage::Tap;

pub(super) struct Reader {
    pub file: File,
    pub inode: u64,
    pub offset: u64,
    pub folder: Folder,
    /// When something last came.
    fresh: Option<Instant>,
}

impl Reader {
    /// At its end.
    pub fn open(path: &Path, folder: Folder) -> std::io::Result<Self> {
        let file = bounded::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            offset: metadata.len(),
            file,
            folder,
            fresh: None,
        })
    }

    pub fn range(&mut self, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(from))?;
        let (mut bytes, most) = (Vec::new(), (to - from).min(BACKWARDS));
        self.file.by_ref().take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads on, a chunk at the most; `true` if there is more.
    pub fn read_new(&mut self, quota: &mut Quota, tap: &Tap, task: Option<&str>) -> bool {
        let Ok(length) = self.file.metadata().map(|metadata| metadata.len()) else {
            return false;
        };
        if length <= self.offset {
            return false;
        }
        if length - self.offset > MOST_AT_ONCE {
            quota.unread(length - self.offset - MOST_AT_ONCE);
            self.offset = length - MOST_AT_ONCE;
        }
        let until = length.min(self.offset + CHUNK);
        if let Ok(bytes) = self.range(self.offset, until) {
            self.offset += bytes.len() as u64;
            self.fresh = Some(Instant::now());
            // The guardian makes a hole of what has become too long: it reads as zeros.
            let hole = bytes.iter().take_while(|&&byte| byte == 0).count();
            quota.unread(hole as u64);
            for (line, stated) in self.folder.feed(&bytes[hole..]) {
                quota.line(line, stated, task, tap);
            }
            return until < length;
        }
        false
    }

    /// A line that nothing has been added to for so long is whole.
    pub fn fold(&mut self, quota: &mut Quota, tap: &Tap, task: Option<&str>) {
        if self.fresh.is_some_and(|at| at.elapsed() >= FOLD) {
            self.fresh = None;
            self.flush(quota, tap, task);
        }
    }

    pub fn flush(&mut self, quota: &mut Quota, tap: &Tap, task: Option<&str>) {
        for (line, stated) in self.folder.flush() {
            quota.line(line, stated, task, tap);
        }
    }

    /// What stands there by now, and not what comes meanwhile.
    pub fn read_rest(&mut self, quota: &mut Quota, tap: &Tap, task: Option<&str>) {
        for _ in 0..=MOST_AT_ONCE / CHUNK {
            if !self.read_new(quota, tap, task) {
                break;
            }
        }
        self.flush(quota, tap, task);
    }

    pub fn is_read(&self) -> bool {
        let metadata = self.file.metadata().ok();
        metadata.is_some_and(|metadata| metadata.is_file() && metadata.len() == self.offset)
    }
}
