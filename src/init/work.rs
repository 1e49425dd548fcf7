//! What the path of a route sounds like.

/// Words of paths that submit work, and of paths that do not.
const WORK: &[&str] = &[
    "task", "job", "run", "submit", "enqueue", "queue", "dispatch", "process", "execute", "message", "work",
    "batch", "invoice", "report", "export", "import",
];
pub const OTHER: &[&str] = &[
    "login", "token", "auth", "user", "webhook", "register", "password", "session", "upload", "cancel",
    "retry", "logout", "health",
];

/// The path sounds as if it submitted work.
pub fn is_work(path: &str) -> bool {
    let lower = path.to_lowercase();
    WORK.iter().any(|word| lower.contains(word))
}

/// The path sounds as if it ended what another one began.
pub fn ends_work(path: &str) -> bool {
    const ENDS: &[&str] = &[
        "cancel", "stop", "abort", "revoke", "kill", "delete", "remove", "pause",
    ];
    path.to_lowercase()
        .split(['/', '-', '_'])
        .any(|word| ENDS.contains(&word))
}
