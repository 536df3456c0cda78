//! etcd's history, forgotten on request: what a watch that was away for long meets when it comes back.
//!
//! Asks etcd's own gateway; never touches what the API server keeps in memory.

use crate::cluster::DevCluster;
use crate::error::DevClusterError;
use crate::ports::Port;
use crate::readiness::post;
use crate::servers::Server;

impl DevCluster {
    /// Forgets every revision before the newest; returns that one.
    pub async fn compact_etcd(&self) -> Result<u64, DevClusterError> {
        let port = self.ports.get(Port::EtcdClient)?;
        let failed = |answer: Option<String>| DevClusterError::NoAnswer {
            server: Server::Etcd,
            answer: answer.unwrap_or_default(),
        };
        // Any key will do: the revision stands in the header.
        let answer = post(port, "/v3/kv/range", r#"{"key":"AA=="}"#).await;
        let revision = answer.as_deref().and_then(revision_of);
        let revision = revision.ok_or_else(|| failed(answer))?;
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        match post(port, "/v3/kv/compaction", &body).await {
            Some(answer) if revision_of(&answer).is_some() => Ok(revision),
            answer => Err(failed(answer)),
        }
    }
}

/// The revision in the header of an answer: a number in quotes.
fn revision_of(answer: &str) -> Option<u64> {
    let (_, rest) = answer.split_once("\"revision\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_from_the_header() {
        let answer = r#"{"header":{"cluster_id":"1","revision":"412","raft_term":"2"}}"#;
        assert_eq!(revision_of(answer), Some(412));
        assert_eq!(revision_of(r#"{"error":"no"}"#), None);
    }
}
