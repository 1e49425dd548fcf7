//! taskdiag's own program on its way into a place, where it reads the Python stacks at the last look.
//!
//! It goes there packed, in pieces between the looks, into memory that no file names. A run that ends well soon sends
//! nothing.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::channel::Channel;
use super::unreachable::Trouble;
use crate::units::bytes;

/// Memory that must be left there besides the program itself.
const ROOM_BESIDE: u64 = 100 << 20;
/// No taskdiag is larger.
const MOST: u64 = 512 << 20;
/// The first piece; each further one is as large as fits in this time.
const FIRST_PIECE: usize = 32 << 10;
const PIECE_WITHIN: Duration = Duration::from_millis(100);
const LARGEST_PIECE: usize = 2 << 20;
/// An answer to a piece may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A way that would take longer is left alone.
const MOST_TIME: Duration = Duration::from_secs(30);
/// Time enough to know how fast it is.
const MEASURED_AFTER: Duration = Duration::from_millis(800);

/// How far it is.
#[derive(Default)]
pub(super) struct Transfer {
    stage: Stage,
    /// Once it is packed.
    program: Option<Arc<Program>>,
    sent: usize,
    piece: usize,
    spent: Duration,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Stage {
    #[default]
    NotBegun,
    Sending,
    Arrived,
    /// For this reason it will not be there.
    Refused(String),
}

/// This program, packed.
#[derive(Debug)]
struct Program {
    packed: Vec<u8>,
}

#[derive(Deserialize)]
struct BeginReply {
    /// What `uname -m` says there.
    machine: String,
    /// Why it cannot be taken.
    because: Option<String>,
    room: Option<i64>,
}

#[derive(Deserialize)]
struct StoredReply {
    /// Bytes that are there, unpacked; absent: they were dropped.
    held: Option<u64>,
    because: Option<String>,
}

impl Transfer {
    /// The script that has it is gone.
    pub fn lost(&mut self) {
        if self.stage == Stage::Sending || self.stage == Stage::Arrived {
            self.stage = Stage::NotBegun;
        }
        self.sent = 0;
    }

    pub fn has_arrived(&self) -> bool {
        self.stage == Stage::Arrived
    }

    /// Why it is not there.
    pub fn missing(&self) -> String {
        let whole = self.program.as_ref().map(|program| program.packed.len());
        match (&self.stage, whole) {
            (Stage::Refused(reason), _) => reason.clone(),
            (_, Some(whole)) if self.sent > 0 => format!(
                "taskdiag's own program has to get there first, and {} of {} had when the run was over",
                bytes(self.sent as u64),
                bytes(whole as u64)
            ),
            _ => "taskdiag's own program has to get there first, and the run was over".into(),
        }
    }

    /// Sends as much as it can until then; `is_last`: it is waited for.
    pub async fn advance(
        &mut self,
        channel: &mut Channel,
        until: Instant,
        is_last: bool,
    ) -> Result<(), Trouble> {
        if self.stage == Stage::NotBegun {
            self.begin(channel).await?;
        }
        if self.stage != Stage::Sending {
            return Ok(());
        }
        let Some(program) = self.packed(until, is_last).await else {
            return Ok(());
        };
        while self.stage == Stage::Sending && Instant::now() < until {
            self.send_piece(channel, &program.packed).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, channel: &mut Channel) -> Result<(), Trouble> {
        let size = match own_size() {
            Ok(size) => size,
            Err(reason) => {
                self.stage = Stage::Refused(reason);
                return Ok(());
            }
        };
        let needed = size + ROOM_BESIDE;
        let question = json!({ "ask": "program", "room": needed });
        let begun: BeginReply = answer::ask(channel, question, Instant::now() + ANSWER_WITHIN).await?;
        let architecture = std::env::consts::ARCH;
        self.stage = match begun.because.as_deref() {
            Some("memory") => Stage::Refused(format!(
                "only {} of the memory limit there are left, and taskdiag's own program needs {}",
                bytes(u64::try_from(begun.room.unwrap_or_default()).unwrap_or_default()),
                bytes(needed)
            )),
            Some(because) => Stage::Refused(format!("taskdiag's own program cannot be run there: {because}")),
            None if begun.machine != architecture => Stage::Refused(format!(
                "a machine of {} cannot run this taskdiag, which is one for {architecture}",
                begun.machine
            )),
            None => Stage::Sending,
        };
        (self.sent, self.piece, self.spent) = (0, FIRST_PIECE, Duration::ZERO);
        if self.stage == Stage::Sending {
            packing(size);
        }
        Ok(())
    }

    async fn packed(&mut self, until: Instant, is_last: bool) -> Option<Arc<Program>> {
        if self.program.is_none() {
            let mut packing = PACKING.get()?.clone();
            if is_last {
                let _ = timeout_at(until, packing.wait_for(Option::is_some)).await;
            }
            match packing.borrow().clone()? {
                Ok(program) => self.program = Some(program),
                Err(reason) => self.stage = Stage::Refused(reason),
            }
        }
        self.program.clone()
    }

    async fn send_piece(&mut self, channel: &mut Channel, packed: &[u8]) -> Result<(), Trouble> {
        let rest = packed.get(self.sent..).unwrap_or_default();
        let piece = &rest[..rest.len().min(self.piece)];
        let is_end = piece.len() == rest.len();
        let began = Instant::now();
        let question = json!({ "ask": "piece", "size": piece.len(), "end": is_end });
        let answer = channel.ask_with(&question, piece, began + ANSWER_WITHIN).await?;
        let held: StoredReply = answer::read(&answer)?;
        if held.held.is_none() {
            let because = held.because.unwrap_or_default();
            self.stage = Stage::Refused(format!("taskdiag's own program was not taken there: {because}"));
            return Ok(());
        }
        let took = began.elapsed();
        self.sent += piece.len();
        self.spent += took;
        let fits = piece.len() as f64 * PIECE_WITHIN.as_secs_f64() / took.as_secs_f64().max(0.001);
        self.piece = (fits as usize).clamp(FIRST_PIECE, LARGEST_PIECE);
        if is_end {
            self.stage = Stage::Arrived;
        } else if self.spent > MEASURED_AFTER {
            let rate = self.sent as f64 / self.spent.as_secs_f64();
            if packed.len() as f64 / rate > MOST_TIME.as_secs_f64() {
                self.stage = Stage::Refused(format!(
                    "taskdiag's own program has to get there first, and the way takes {} a second, of {}",
                    bytes(rate as u64),
                    bytes(packed.len() as u64)
                ));
            }
        }
        Ok(())
    }
}

type Packing = watch::Receiver<Option<Result<Arc<Program>, String>>>;

/// It is packed once for all places, and sent again where a way had to be opened again.
static PACKING: OnceLock<Packing> = OnceLock::new();

fn packing(size: u64) {
    PACKING.get_or_init(|| {
        let (done, packing) = watch::channel(None);
        // No runtime waits for it: a run may be over before.
        std::thread::spawn(move || done.send(Some(pack(size).map(Arc::new))));
        packing
    });
}

/// So many bytes of this program are needed to run it.
fn own_size() -> Result<u64, String> {
    if !cfg!(target_os = "linux") {
        return Err("this taskdiag is no program for Linux".into());
    }
    let failed = |error: std::io::Error| format!("this program: {error}");
    let mut file = std::fs::File::open("/proc/self/exe").map_err(failed)?;
    let whole = file.metadata().map_err(failed)?.len();
    let mut head = [0; 4096];
    let count = file.read(&mut head).map_err(failed)?;
    let size = loaded(&head[..count])
        .filter(|size| *size <= whole)
        .unwrap_or(whole);
    if size > MOST {
        return Err(format!("taskdiag's own program is too large: {}", bytes(size)));
    }
    Ok(size)
}

/// Where the last segment ends that the kernel maps of an ELF file of 64 bits: what debuggers read comes after that.
fn loaded(head: &[u8]) -> Option<u64> {
    const LOAD: u64 = 1;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let first = usize::try_from(number(32, 8)?).ok()?;
    let length = number(54, 2)? as usize;
    let ends = (0..number(56, 2)? as usize).map(|index| {
        let at = first.checked_add(index * length)?;
        let end = number(at + 8, 8)?.checked_add(number(at + 32, 8)?)?;
        Some(if number(at, 4)? == LOAD { end } else { 0 })
    });
    ends.collect::<Option<Vec<u64>>>()?
        .into_iter()
        .max()
        .filter(|end| *end > 0)
}

fn pack(size: u64) -> Result<Program, String> {
    let failed = |error: std::io::Error| format!("this program: {error}");
    let file = std::fs::File::open("/proc/self/exe").map_err(failed)?;
    let mut file = std::io::BufReader::with_capacity(1 << 20, file.take(size));
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut file, &mut packer).map_err(failed)?;
    packer.flush().map_err(failed)?;
    let packed = packer.finish().map_err(failed)?;
    Ok(Program { packed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let mut transfer = Transfer::default();
        assert!(transfer.missing().ends_with("the run was over"));
        transfer.program = Some(Arc::new(Program {
            packed: vec![0; 4 << 20],
        }));
        (transfer.stage, transfer.sent) = (Stage::Sending, 1 << 20);
        assert!(
            transfer.missing().contains("1 MiB of 4 MiB"),
            "{}",
            transfer.missing()
        );
        transfer.lost();
        assert_eq!((transfer.sent, &transfer.stage), (0, &Stage::NotBegun));
        // What cannot be run does not become runnable by another try.
        transfer.stage = Stage::Refused("another machine".into());
        transfer.lost();
        assert_eq!(transfer.missing(), "another machine");
    }

    #[test]
    fn what_only_debuggers_read_stays_here() {
        let mut head = vec![0_u8; 64 + 2 * 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put = |at: usize, number: u64| head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        put(32, 64);
        put(54, 56 | 2 << 16);
        for (index, kind, offset, size) in [(0, 1, 0, 5000), (1, 4, 9000, 10)] {
            let at = 64 + index * 56;
            put(at, kind);
            put(at + 8, offset);
            put(at + 32, size);
        }
        assert_eq!(loaded(&head), Some(5000));
        for wrong in [&head[..100], b"\x7fELF\x01\x01", b"#!/bin/sh", b""] {
            assert_eq!(loaded(wrong), None);
        }
        let size = own_size().unwrap();
        assert!(size > 1 << 20 && size <= std::fs::metadata("/proc/self/exe").unwrap().len());
    }
}
