//! The catalogue, in the order a task travels; within a stage the specific above the general.
//!
//! To add a cause: write `causes/ITS_NAME.rs` with its data on top and a plain function under it,
//! and `causes/ITS_NAME.md` with its page; add `mod its_name;` and `its_name::CAUSE,` below, at the
//! place that its rank deserves: the order breaks ties. Forgetting the second is a dead-code
//! warning, forgetting the first fails the test that counts the files. Causes that are one line of a log and nothing
//! else are rows of one file: `causes/celery/gave_up.rs`.
//!
//! A remedy that is for one case only begins with it, "If CASE, do …"; the check answers for the cases that it knows
//! (`Answer::case`), and a report leaves out the others. The first remedy ends or deletes nothing, and holds without an
//! "If" once its case is known.
//!
//! A check answers from evidence, never from silence of a source that could not see: ask
//! `story.sees`, and conclude from absence only when `story.closed()`.

mod actor_raised;
mod actor_still_running;
mod api_answer_unrecognised;
mod api_cannot_enqueue;
mod api_failed;
mod api_rejected;
mod api_stale_read;
mod api_timeout;
mod api_unauthorized;
mod api_unreachable;
mod argument_not_serialisable;
mod backlog;
mod bad_arguments;
mod blocked_after_actor;
mod blocked_before_entry;
pub(in crate::diagnosis) mod celery;
mod consumer_refused;
mod coroutine_never_awaited;
mod crash_before_entry;
mod decode_error;
mod delay_queue_stuck;
mod delayed;
mod delivery_limit_reached;
mod dropped_by_limit;
mod enqueued_before_commit;
mod error_swallowed;
mod event_loop_blocked;
mod expected_exception;
mod follow_up_stuck;
mod message_expired;
mod message_skipped;
mod message_too_old;
mod message_vanished;
mod no_consumer;
mod no_event_loop;
mod not_dispatched;
mod not_published;
mod older_task_returned;
mod publish_refused;
mod published_to_other_broker;
mod published_to_other_queue;
mod published_to_other_vhost;
mod publisher_blocked;
mod queue_declaration_conflict;
mod queue_deleted;
mod queue_unavailable;
mod raised_before_entry;
mod ran_in_the_api;
mod ran_twice;
mod redelivery_loop;
mod retries_missing;
mod retry_lost;
mod row_deleted;
mod row_invisible;
mod row_locked;
mod row_marked_failed;
mod row_missing;
mod row_never_written;
mod row_not_committed;
mod row_overwritten;
mod row_rolled_back;
mod several_workers;
mod single_active_consumer;
mod submit_command_failed;
mod succeeded;
mod table_locked;
mod taken_by_orphaned_worker;
mod taken_by_other_client;
mod taken_by_other_worker;
mod test_broker;
mod time_limit_exceeded;
mod timeout_error_lost;
mod tracing_left_on;
mod unknown_actor;
mod unroutable;
mod waiting_in_worker;
mod waits_for_itself;
mod waits_for_lock;
mod worker_blocked;
mod worker_cannot_connect;
mod worker_crash_loop;
mod worker_dead_children;
mod worker_died_in_actor;
mod worker_frozen;
mod worker_has_no_actors;
mod worker_killed_by_other_message;
mod worker_log_pipe_full;
mod worker_log_silent;
mod worker_not_started;
mod worker_on_other_database;
mod worker_on_other_queue;
mod worker_on_other_vhost;
mod worker_on_test_broker;
mod worker_shutting_down;
mod worker_still_booting;
mod worker_threads_dead;
mod workers_busy;
mod wrong_worker_log;

use super::{Answer, Cause, Certainty, Story};

/// Every cause there is. The order means something: earlier stages first, and within a stage the
/// specific before the general.
pub const ALL: &[Cause] = &[
    api_unreachable::CAUSE,
    api_timeout::CAUSE,
    api_unauthorized::CAUSE,
    argument_not_serialisable::CAUSE,
    celery::result_backend_blocks_publish::CAUSE,
    api_cannot_enqueue::CAUSE,
    api_rejected::CAUSE,
    submit_command_failed::CAUSE,
    api_failed::CAUSE,
    api_answer_unrecognised::CAUSE,
    row_invisible::CAUSE,
    row_missing::CAUSE,
    celery::default_app::CAUSE,
    published_to_other_queue::CAUSE,
    published_to_other_vhost::CAUSE,
    published_to_other_broker::CAUSE,
    publisher_blocked::CAUSE,
    older_task_returned::CAUSE,
    publish_refused::CAUSE,
    test_broker::CAUSE,
    celery::chain_broken::CAUSE,
    celery::chord_waiting::CAUSE,
    celery::chain_waiting::CAUSE,
    not_dispatched::CAUSE,
    unroutable::CAUSE,
    dropped_by_limit::CAUSE,
    not_published::CAUSE,
    worker_killed_by_other_message::CAUSE,
    worker_crash_loop::CAUSE,
    worker_dead_children::CAUSE,
    worker_not_started::CAUSE,
    worker_cannot_connect::CAUSE,
    queue_declaration_conflict::CAUSE,
    celery::gave_up::CONSUMER_TIMEOUT,
    celery::gave_up::NODE_NAME_TAKEN,
    celery::gave_up::UNRECOVERABLE,
    consumer_refused::CAUSE,
    queue_deleted::CAUSE,
    worker_still_booting::CAUSE,
    worker_on_test_broker::CAUSE,
    worker_has_no_actors::CAUSE,
    worker_on_other_queue::CAUSE,
    worker_on_other_vhost::CAUSE,
    celery::consumer_cancelled::CAUSE,
    celery::eta_blocks_worker::CAUSE,
    queue_unavailable::CAUSE,
    message_expired::CAUSE,
    message_vanished::CAUSE,
    delayed::CAUSE,
    delay_queue_stuck::CAUSE,
    single_active_consumer::CAUSE,
    workers_busy::CAUSE,
    backlog::CAUSE,
    no_consumer::CAUSE,
    taken_by_orphaned_worker::CAUSE,
    taken_by_other_worker::CAUSE,
    taken_by_other_client::CAUSE,
    decode_error::CAUSE,
    celery::stale_code::CAUSE,
    unknown_actor::CAUSE,
    worker_frozen::CAUSE,
    worker_log_pipe_full::CAUSE,
    worker_shutting_down::CAUSE,
    worker_threads_dead::CAUSE,
    celery::rate_limited::CAUSE,
    celery::pool_stuck::CAUSE,
    celery::solo_blocked::CAUSE,
    waiting_in_worker::CAUSE,
    worker_blocked::CAUSE,
    message_too_old::CAUSE,
    message_skipped::CAUSE,
    celery::revoked::CAUSE,
    bad_arguments::CAUSE,
    no_event_loop::CAUSE,
    coroutine_never_awaited::CAUSE,
    raised_before_entry::CAUSE,
    crash_before_entry::CAUSE,
    blocked_before_entry::CAUSE,
    event_loop_blocked::CAUSE,
    enqueued_before_commit::CAUSE,
    time_limit_exceeded::CAUSE,
    celery::deadlock_on_subtask::CAUSE,
    celery::result_not_stored::CAUSE,
    celery::result_ignored::CAUSE,
    celery::result_elsewhere::CAUSE,
    worker_died_in_actor::CAUSE,
    delivery_limit_reached::CAUSE,
    redelivery_loop::CAUSE,
    expected_exception::CAUSE,
    retries_missing::CAUSE,
    retry_lost::CAUSE,
    actor_raised::CAUSE,
    table_locked::CAUSE,
    waits_for_itself::CAUSE,
    blocked_after_actor::CAUSE,
    row_locked::CAUSE,
    row_rolled_back::CAUSE,
    row_not_committed::CAUSE,
    row_overwritten::CAUSE,
    row_deleted::CAUSE,
    row_marked_failed::CAUSE,
    follow_up_stuck::CAUSE,
    row_never_written::CAUSE,
    worker_on_other_database::CAUSE,
    timeout_error_lost::CAUSE,
    waits_for_lock::CAUSE,
    actor_still_running::CAUSE,
    succeeded::CAUSE,
    ran_in_the_api::CAUSE,
    error_swallowed::CAUSE,
    api_stale_read::CAUSE,
    worker_log_silent::CAUSE,
    wrong_worker_log::CAUSE,
    ran_twice::CAUSE,
    several_workers::CAUSE,
    tracing_left_on::CAUSE,
];

/// The cause with this id.
pub fn find(id: &str) -> Option<&'static Cause> {
    ALL.iter().find(|cause| cause.id == id)
}

/// A worker has the message, and something is seen that keeps it from being begun.
fn waits_in_a_worker(story: &Story<'_>) -> bool {
    let causes = [
        waiting_in_worker::CAUSE,
        celery::rate_limited::CAUSE,
        celery::solo_blocked::CAUSE,
    ];
    let waits = |cause: &Cause| match (cause.check)(story) {
        Answer::Matched(matched) => matched.certainty >= Certainty::Likely,
        _ => false,
    };
    causes.iter().any(waits)
}
