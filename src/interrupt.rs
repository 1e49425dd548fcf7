//! Ctrl-C, and requests to terminate.

use std::io;
use std::process::exit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whoever is asked to end, and does nothing more that is of use, has ended by then.
const PATIENCE: Duration = Duration::from_secs(8);
/// Whoever hears a second request has so long to say goodbye.
const GOODBYE: Duration = Duration::from_millis(700);

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

/// Sees to it that requests to end are obeyed even where everything hangs: in a pipe that nobody reads, in a
/// file system that is gone. A second one ends at once, the first one after a while. To die at any moment is
/// safe: the guardian undoes what was done. On a thread of its own, with a runtime of its own.
pub fn enforce() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let Ok(mut requests) = Requests::listen() else {
                    return;
                };
                let first = requests.next().await;
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
                    second = requests.next() => {
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
struct Requests {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Requests {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.hangup.recv() => libc::SIGHUP,
        }
    }
}

/// Becomes true on Ctrl-C or a request to terminate, whenever that comes.
pub fn listen_for_interrupt() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        interrupt().await;
        sender.send_replace(true);
        // Kept, so that nobody takes a closed channel for an interrupt.
        sender.closed().await;
    });
    receiver
}

/// Resolves on Ctrl-C or a request to terminate.
pub async fn interrupt() {
    match Requests::listen() {
        Ok(mut requests) => drop(requests.next().await),
        Err(_) => std::future::pending().await,
    }
}
