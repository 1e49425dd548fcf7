//! Who is at the other end of a connection.

use super::follow::Run;
use crate::vantage::containers::ContainerQuery;
use crate::vantage::process::ProcessQuery;

impl Run {
    /// Who is at the client's end of a connection: a process of this machine, or somebody in a container.
    pub(super) fn ask_who(&self, connection: &str) {
        let _ = self
            .queries
            .processes
            .send(ProcessQuery::Connection(connection.to_owned()));
        if let Some(address) = connection
            .split(" -> ")
            .next()
            .and_then(|client| client.rsplit_once(':'))
        {
            let address = address.0.trim_matches(['[', ']']).to_owned();
            let _ = self.queries.containers.send(ContainerQuery::Address(address));
        }
    }
}
