//! A queue and its companions.

/// Delayed messages and retries wait here; the worker consumes it and moves them when due.
pub fn delay_queue(queue: &str) -> String {
    format!("{queue}.DQ")
}

/// Rejected messages end here, by the broker's dead-lettering; nobody consumes it.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.XQ")
}

/// The logical queue behind a companion's name.
pub fn base_queue(queue: &str) -> &str {
    queue
        .strip_suffix(".DQ")
        .or_else(|| queue.strip_suffix(".XQ"))
        .unwrap_or(queue)
}
