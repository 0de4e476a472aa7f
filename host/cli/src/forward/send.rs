//! One attempt to send a batch, and what the answer means.

use std::time::Duration;

use auditchain_log::SenderKey;
use serde::Deserialize;

use super::batch::Batch;
use super::sign::headers;
use crate::connect::ConnectArgs;
use crate::error::CliError;
use crate::http::{Answer, Client};
use crate::limits::JSON_ANSWER_BYTES_MAX;

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the log.
    Taken(Ack),
    /// It may be taken later: no connection, 408, 429, 5xx.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
    /// It is we who are refused (rights, path, method): no batch would be taken.
    NotUs(String),
    /// This batch is too large.
    TooLarge(String),
    /// This batch is refused for good.
    Refused(String),
}

/// What the service says that it did.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Ack {
    pub(super) rejected: u64,
    pub(super) duplicates: u64,
}

/// Sends to one service.
#[derive(Debug)]
pub(super) struct Sender {
    url: String,
    connect: ConnectArgs,
    key: SenderKey,
    client: Client,
}

impl Sender {
    /// # Errors
    /// The URL, or a file of the connection, can't be used.
    pub(super) fn new(url: &str, connect: &ConnectArgs, key: SenderKey) -> Result<Self, CliError> {
        Ok(Self {
            client: Client::connect(url, connect)?,
            url: url.to_owned(),
            connect: connect.clone(),
            key,
        })
    }

    pub(super) fn key(&self) -> &SenderKey {
        &self.key
    }

    /// Sends the batch under its number, once.
    pub(super) fn send(&self, batch: &Batch, sequence: u64) -> Outcome {
        let failed = |why: String| Outcome::Failed {
            why,
            retry_after: None,
        };
        let signed = match headers(&self.key, batch, sequence) {
            Ok(signed) => signed,
            Err(error) => return Outcome::NotUs(error.to_string()),
        };
        let mut headers: Vec<(&str, &str)> = signed
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        headers.extend(
            batch
                .header
                .packing
                .encoding()
                .map(|encoding| ("content-encoding", encoding)),
        );
        let path = format!("/audit/{}", batch.header.source);
        let limit = JSON_ANSWER_BYTES_MAX;
        match self.client.post_with(&path, &headers, &batch.packed, limit) {
            Ok(answer) => judge(&answer),
            Err(error) => failed(error.to_string()),
        }
    }

    /// Takes up certificates and tokens as they are now: they are replaced while a
    /// forwarder runs, a mounted token every hour.
    ///
    /// # Errors
    /// One can't be read; the old ones stay.
    pub(super) fn reconnect(&mut self) -> Result<(), CliError> {
        self.client = Client::connect(&self.url, &self.connect)?;
        Ok(())
    }
}

fn judge(answer: &Answer) -> Outcome {
    let why = answer.problem();
    match answer.status {
        200 => match serde_json::from_slice(&answer.body) {
            Ok(ack) => Outcome::Taken(ack),
            Err(_) => Outcome::NotUs("200 without an acknowledgement; is this auditchaind?".into()),
        },
        408 | 429 | 500..=599 => Outcome::Failed {
            why,
            retry_after: answer.retry_after_s.map(Duration::from_secs),
        },
        413 => Outcome::TooLarge(why),
        400 | 422 => Outcome::Refused(why),
        _ => Outcome::NotUs(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> Outcome {
        judge(&Answer {
            status,
            retry_after_s: Some(7),
            body: body.into(),
        })
    }

    #[test]
    fn answers_are_told_apart() {
        let ack = r#"{"accepted":1,"rejected":2,"duplicates":3,"size":9}"#;
        assert!(matches!(
            outcome(200, ack),
            Outcome::Taken(Ack {
                rejected: 2,
                duplicates: 3
            })
        ));
        // A proxy's page is no acknowledgement.
        assert!(matches!(outcome(200, "<html>"), Outcome::NotUs(_)));
        for status in [408, 429, 500, 502, 503, 504] {
            let Outcome::Failed { retry_after, .. } = outcome(status, "") else {
                panic!("{status}")
            };
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        for status in [204, 301, 401, 403, 404, 405, 411, 415] {
            assert!(matches!(outcome(status, ""), Outcome::NotUs(_)), "{status}");
        }
        assert!(matches!(outcome(413, ""), Outcome::TooLarge(_)));
        for status in [400, 422] {
            assert!(matches!(outcome(status, ""), Outcome::Refused(_)));
        }
    }
}
