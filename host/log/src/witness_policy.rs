//! Whose signatures make a checkpoint worth believing:
//! [c2sp.org/tlog-policy](https://c2sp.org/tlog-policy).
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>...      names of lines before it, each used once
//! quorum <name>|none                      exactly one
//! ```
//! Items are parted by spaces and tabs; empty lines and lines that begin with `#` count
//! for nothing. Names are opaque bytes and mean nothing outside the file.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::key::{KeyError, VerifierKey};
use crate::note::{Note, NoteError};

/// Bytes of a policy file: every line that the other limits allow, at about 600 bytes.
pub const MAX_POLICY_BYTES: usize = 128 << 10;
/// Logs of a policy; the standard asks for 32 at least.
pub const MAX_POLICY_LOGS: usize = 64;
/// Witnesses of a policy; 32 at least by the standard. All of their lines and the
/// log's own still fit into a note.
pub const MAX_POLICY_WITNESSES: usize = 48;
/// Groups of a policy; 32 at least by the standard.
pub const MAX_POLICY_GROUPS: usize = 64;

/// Name of the quorum that asks for nothing.
const NONE: &[u8] = b"none";

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    nodes: Vec<Node>,
    /// None: nothing is asked for.
    quorum: Option<usize>,
}

/// A log that the policy takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key, named by its origin.
    pub key: VerifierKey,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness that the policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the file.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Its submission prefix.
    pub url: Option<String>,
}

/// What a name stands for; a group comes after its members.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Witness(usize),
    Group { need: usize, members: Vec<usize> },
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No quorum line.
    #[error("there is no quorum line; `quorum none` asks for no witnesses")]
    NoQuorum,
    /// Over [`MAX_POLICY_BYTES`].
    #[error("the policy is larger than {MAX_POLICY_BYTES} bytes")]
    TooLarge,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// None of the four forms.
    #[error(
        "expected `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...` or `quorum NAME|none`"
    )]
    Form,
    /// A control character.
    #[error("a control character other than tab")]
    Control,
    /// The vkey is none.
    #[error("{0}")]
    Key(KeyError),
    /// A witness's key at a log, or the other way round.
    #[error("the key's type is not one of a {0}")]
    KeyType(&'static str),
    /// The same key twice.
    #[error("this key stands in an earlier line already")]
    DuplicateKey,
    /// The name is taken, or is `none`.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// No line before defines it.
    #[error("no line before this one defines {0:?}")]
    Undefined(String),
    /// A name is a member of two groups, or twice of one.
    #[error("{0:?} is a member of a group already")]
    UsedTwice(String),
    /// k is not in 1..=n.
    #[error("the threshold is not between 1 and the number of members")]
    Threshold,
    /// A second quorum line.
    #[error("a second quorum line")]
    SecondQuorum,
    /// Over one of the limits.
    #[error("more {0} than {1}")]
    TooMany(&'static str, usize),
}

/// Why a checkpoint doesn't satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// A signature of a key that the policy knows is invalid.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The policy lists logs, and none of them signed.
    #[error("none of the logs that the witness policy lists signed it")]
    Log,
    /// Too few witnesses.
    #[error(
        "the witness policy's quorum is not met: {} of its {known} witnesses cosigned{}", .cosigned.len(), names(.cosigned)
    )]
    NotMet {
        /// Names of those that did.
        cosigned: Vec<String>,
        /// Witnesses of the policy.
        known: usize,
    },
}

fn names(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        alloc::format!(" ({})", names.join(", "))
    }
}

impl WitnessPolicy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It is none, or over a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge);
        }
        let mut parser = Parser::default();
        for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let result = parser.line(line);
            result.map_err(|problem| PolicyError::Line {
                line: i + 1,
                problem,
            })?;
        }
        Ok(Self {
            quorum: parser.quorum.ok_or(PolicyError::NoQuorum)?,
            logs: parser.logs,
            witnesses: parser.witnesses,
            nodes: parser.nodes,
        })
    }

    /// The logs; none: which log is meant is known from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether any cosignature is asked for.
    #[must_use]
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// The keys of the logs named `origin`.
    #[must_use]
    pub fn log_keys(&self, origin: &str) -> Vec<VerifierKey> {
        let keys = self.logs.iter().map(|log| &log.key);
        keys.filter(|key| key.name() == origin).cloned().collect()
    }

    /// Whether the witnesses `cosigned` says it of are a quorum.
    pub fn is_quorum(&self, cosigned: impl Fn(&PolicyWitness) -> bool) -> bool {
        let Some(quorum) = self.quorum else {
            return true;
        };
        // Members come before their group, so one pass settles all.
        let mut met: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            met.push(match node {
                Node::Witness(at) => cosigned(&self.witnesses[*at]),
                Node::Group { need, members } => {
                    members.iter().filter(|member| met[**member]).count() >= *need
                }
            });
        }
        met[quorum]
    }

    /// Checks a checkpoint note: its quorum, and if logs are listed that one of them
    /// signed. Returns the witnesses that cosigned.
    ///
    /// # Errors
    /// It doesn't satisfy the policy, or a signature of a key that the policy knows is
    /// invalid.
    pub fn check(&self, note: &Note) -> Result<Vec<&PolicyWitness>, QuorumError> {
        let keys = self.logs.iter().map(|log| &log.key);
        let keys: Vec<VerifierKey> = keys
            .chain(self.witnesses.iter().map(|witness| &witness.key))
            .cloned()
            .collect();
        let signed = match note.verify(&keys) {
            Ok(signed) => signed,
            Err(NoteError::Unverified) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        // A log's key carries its origin's name: it can't speak for another log.
        let origin = note.text().split('\n').next();
        let by_log = |key: &&VerifierKey| !key.is_cosigner() && Some(key.name()) == origin;
        if !self.logs.is_empty() && !signed.iter().any(by_log) {
            return Err(QuorumError::Log);
        }
        let cosigned = |witness: &PolicyWitness| signed.contains(&&witness.key);
        let by: Vec<&PolicyWitness> = self.witnesses.iter().filter(|w| cosigned(w)).collect();
        if self.is_quorum(cosigned) {
            Ok(by)
        } else {
            Err(QuorumError::NotMet {
                cosigned: by.iter().map(|witness| witness.name.clone()).collect(),
                known: self.witnesses.len(),
            })
        }
    }
}

/// The file as far as it is read.
#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    nodes: Vec<Node>,
    /// Of each node.
    names: Vec<Vec<u8>>,
    /// Of each node: whether a group has it.
    used: Vec<bool>,
    quorum: Option<Option<usize>>,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line
            .iter()
            .any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f)
        {
            return Err(Problem::Control);
        }
        let mut items = line
            .split(|b| matches!(b, b' ' | b'\t'))
            .filter(|item| !item.is_empty());
        let Some(first) = items.next().filter(|first| !first.starts_with(b"#")) else {
            return Ok(());
        };
        let items: Vec<&[u8]> = items.collect();
        match (first, &items[..]) {
            (b"log", [vkey]) => self.log(vkey, None),
            (b"log", [vkey, url]) => self.log(vkey, Some(url)),
            (b"witness", [name, vkey]) => self.witness(name, vkey, None),
            (b"witness", [name, vkey, url]) => self.witness(name, vkey, Some(url)),
            (b"group", [name, need, members @ ..]) if !members.is_empty() => {
                self.group(name, need, members)
            }
            (b"quorum", [name]) => self.quorum(name),
            _ => Err(Problem::Form),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&[u8]>) -> Result<(), Problem> {
        if self.logs.len() == MAX_POLICY_LOGS {
            return Err(Problem::TooMany("logs", MAX_POLICY_LOGS));
        }
        let key = parse_key(vkey)?;
        if key.is_cosigner() {
            return Err(Problem::KeyType("log"));
        }
        if self.logs.iter().any(|log| log.key.same_public(&key)) {
            return Err(Problem::DuplicateKey);
        }
        let url = url.map(text);
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], vkey: &[u8], url: Option<&[u8]>) -> Result<(), Problem> {
        if self.witnesses.len() == MAX_POLICY_WITNESSES {
            return Err(Problem::TooMany("witnesses", MAX_POLICY_WITNESSES));
        }
        let key = parse_key(vkey)?;
        if !key.is_cosigner() {
            return Err(Problem::KeyType("witness"));
        }
        if self.witnesses.iter().any(|w| w.key.same_public(&key)) {
            return Err(Problem::DuplicateKey);
        }
        self.define(name, Node::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness {
            name: text(name),
            key,
            url: url.map(text),
        });
        Ok(())
    }

    fn group(&mut self, name: &[u8], need: &[u8], members: &[&[u8]]) -> Result<(), Problem> {
        if self.nodes.len() - self.witnesses.len() == MAX_POLICY_GROUPS {
            return Err(Problem::TooMany("groups", MAX_POLICY_GROUPS));
        }
        let need = match need {
            b"any" => 1,
            b"all" => members.len(),
            k => decimal(k).ok_or(Problem::Threshold)?,
        };
        if !(1..=members.len()).contains(&need) {
            return Err(Problem::Threshold);
        }
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            let at = self.find(member)?;
            if core::mem::replace(&mut self.used[at], true) {
                return Err(Problem::UsedTwice(text(member)));
            }
            found.push(at);
        }
        self.define(
            name,
            Node::Group {
                need,
                members: found,
            },
        )
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), Problem> {
        if self.quorum.is_some() {
            return Err(Problem::SecondQuorum);
        }
        self.quorum = Some(if name == NONE {
            None
        } else {
            Some(self.find(name)?)
        });
        Ok(())
    }

    fn define(&mut self, name: &[u8], node: Node) -> Result<(), Problem> {
        if name == NONE || self.names.iter().any(|other| other == name) {
            return Err(Problem::NameTaken(text(name)));
        }
        self.names.push(name.to_owned());
        self.nodes.push(node);
        self.used.push(false);
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<usize, Problem> {
        let found = self.names.iter().position(|other| other == name);
        found.ok_or_else(|| Problem::Undefined(text(name)))
    }
}

fn parse_key(vkey: &[u8]) -> Result<VerifierKey, Problem> {
    let vkey = core::str::from_utf8(vkey).map_err(|_| Problem::Key(KeyError::Syntax))?;
    vkey.parse().map_err(Problem::Key)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A number in its one spelling.
fn decimal(bytes: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(bytes).ok()?;
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
#[path = "witness_policy/tests.rs"]
mod tests;
