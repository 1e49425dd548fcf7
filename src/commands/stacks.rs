//! `taskdiag __stacks PARENT PID…`, which the script of a place runs there from memory (`[worker] exec`): prints the
//! Python stacks of these processes, a line of JSON for each.

use std::sync::Mutex;

use crate::error::exit;
use crate::vantage::exec::Line;
use crate::vantage::process::stacks::dump;

/// It ends after that, whatever holds it up.
const SECONDS: u32 = 4;

pub fn main() -> u8 {
    let numbers = std::env::args().skip(2).map(|word| word.parse::<i32>());
    let Ok(numbers) = numbers.collect::<Result<Vec<i32>, _>>() else {
        return exit::USAGE;
    };
    let Some((parent, pids)) = numbers.split_first() else {
        return exit::USAGE;
    };
    if !ends_with(*parent) {
        return exit::COULD_NOT;
    }
    let printing = Mutex::new(());
    std::thread::scope(|scope| {
        for &pid in pids {
            let printing = &printing;
            scope.spawn(move || {
                let line = Line {
                    pid,
                    stacks: dump(pid),
                };
                let text = serde_json::to_string(&line).unwrap_or_default();
                let _whole_lines = printing.lock();
                let _ = super::print_text(&format!("{text}\n"));
            });
        }
    });
    exit::OK
}

/// This process ends with its parent, and by an alarm whatever happens. Whether the parent is still there: it may
/// have ended before the kernel was told.
#[allow(unsafe_code)]
fn ends_with(parent: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe {
        libc::alarm(SECONDS);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::getppid() == parent
    }
}
