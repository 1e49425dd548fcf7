//! Ctrl-C, and requests to terminate.

use std::io;
use std::process::exit;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whoever is asked to end, and does nothing more that is of use, has ended by then.
const PATIENCE: Duration = Duration::from_secs(8);
/// Whoever hears a second request has so long to say goodbye.
const GOODBYE: Duration = Duration::from_millis(700);

static REQUESTS: LazyLock<Requests> = LazyLock::new(Requests::default);
/// Something is being undone, which the user waits for.
static UNDOING: AtomicU32 = AtomicU32::new(0);

/// While this lives, one request to end does not cut short what is going on: it is undoing things, and says so.
pub struct Undoing;

impl Undoing {
    pub fn begin() -> Self {
        UNDOING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Undoing {
    fn drop(&mut self) {
        UNDOING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// At the limit of a file's size a write fails from now on, as on a full disk, and nobody is killed: the signal
/// is handled, and programs that we execute know nothing of it.
pub fn outlive_file_limits() {
    // What handles a signal outlives the runtime in which it was asked for.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
        let _entered = runtime.enter();
        let _ = signal(SignalKind::from_raw(libc::SIGXFSZ));
    }
}

/// Sees to it that requests to end are heard, and obeyed even where everything hangs: in a pipe that nobody
/// reads, in a file system that is gone. A second one ends at once, the first one after a while. To die at any
/// moment is safe: the guardian undoes what was done. On a thread of its own, with a runtime of its own.
pub fn enforce() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let first = signals.next().await;
                let patience = async {
                    loop {
                        tokio::time::sleep(PATIENCE).await;
                        if UNDOING.load(Ordering::Relaxed) == 0 {
                            return first;
                        }
                    }
                };
                let number = tokio::select! {
                    number = patience => number,
                    second = signals.next() => {
                        tokio::time::sleep(GOODBYE).await;
                        second
                    }
                };
                exit(128 + number)
            });
        })?;
    Ok(())
}

/// The signals that ask to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the next one, once everybody knows.
    async fn next(&mut self) -> i32 {
        let number = tokio::select! {
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.hangup.recv() => libc::SIGHUP,
        };
        REQUESTS.0.send_modify(|made| *made += 1);
        number
    }
}

/// How often we were asked to end: a request counts for whoever asks, and whenever.
#[derive(Default)]
struct Requests(watch::Sender<u32>);

impl Requests {
    fn made(&self) -> u32 {
        *self.0.borrow()
    }

    async fn at_least(&self, wanted: u32) {
        // What sends lives as long as what waits.
        let _ = self.0.subscribe().wait_for(|made| *made >= wanted).await;
    }
}

/// Somebody has asked us to end.
pub fn is_interrupted() -> bool {
    REQUESTS.made() > 0
}

/// Resolves on Ctrl-C or a request to terminate, at once where that has come already.
pub async fn interrupt() {
    REQUESTS.at_least(1).await;
}

/// Resolves on a request to end that comes from now on.
pub async fn another_interrupt() {
    REQUESTS.at_least(REQUESTS.made() + 1).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Requests;

    #[test]
    fn a_request_counts_for_whoever_asks_later() {
        let requests = Requests::default();
        assert!(requests.at_least(1).now_or_never().is_none());
        requests.0.send_modify(|made| *made += 1);
        assert_eq!(requests.made(), 1);
        assert!(requests.at_least(1).now_or_never().is_some());
        assert!(requests.at_least(2).now_or_never().is_none());
    }
}
