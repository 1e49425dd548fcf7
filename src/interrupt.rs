//! Ctrl-C, and requests to terminate.

use tokio::sync::watch;

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
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = match signal(SignalKind::terminate()) {
        Ok(term) => term,
        Err(_) => return std::future::pending().await,
    };
    let mut hup = match signal(SignalKind::hangup()) {
        Ok(hup) => hup,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}
