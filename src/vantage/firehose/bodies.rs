//! What was published, as it was: what a copy can be made of.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::framework::Envelope;

/// So many bytes are kept in all, so that a busy vhost cannot fill the memory.
const MOST: usize = 32 << 20;

/// Messages as they were published, by id. Never written anywhere.
#[derive(Default)]
pub struct PublishedBodies(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    bodies: BTreeMap<String, Envelope<'static>>,
    bytes: usize,
}

impl std::fmt::Debug for PublishedBodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishedBodies")
    }
}

impl PublishedBodies {
    pub fn keep(&self, id: &str, message: &Envelope<'_>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first one is the original; what comes later under this id is a retry.
        let size = message.size();
        if kept.bytes + size <= MOST && !kept.bodies.contains_key(id) {
            kept.bytes += size;
            kept.bodies.insert(id.to_owned(), message.clone().into_owned());
        }
    }

    pub fn get(&self, id: &str) -> Option<Envelope<'static>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bodies.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_kept_up_to_a_limit_and_the_first_counts() {
        let bodies = PublishedBodies::default();
        let message = |body: &'static [u8]| Envelope::of_body(body);
        bodies.keep("a", &message(b"first"));
        bodies.keep("a", &message(b"retry"));
        bodies.keep("b", &Envelope::of_body(vec![0; MOST]));
        assert_eq!(bodies.get("a"), Some(message(b"first")));
        assert_eq!(bodies.get("b"), None);
    }
}
