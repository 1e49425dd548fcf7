//! The live table: which rows, in which order, in which columns; drawn by ratatui.

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Queue,
    State,
    Ready,
    Unacked,
    Consumers,
    In,
    Deliver,
    Ack,
    Oldest,
    Delayed,
    Dead,
    Who,
}

impl Column {
    pub const ALL: [Column; 12] = [
        Column::Queue,
        Column::State,
        Column::Ready,
        Column::Unacked,
        Column::Consumers,
        Column::In,
        Column::Deliver,
        Column::Ack,
        Column::Oldest,
        Column::Delayed,
        Column::Dead,
        Column::Who,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Column::Queue => "queue",
            Column::State => "state",
            Column::Ready => "ready",
            Column::Unacked => "unacked",
            Column::Consumers => "consumers",
            Column::In => "in",
            Column::Deliver => "deliver",
            Column::Ack => "ack",
            Column::Oldest => "oldest",
            Column::Delayed => "delayed",
            Column::Dead => "dead",
            Column::Who => "who",
        }
    }
}
