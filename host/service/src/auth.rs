//! Who may do what. There are three rights, and none includes another: **ingest** (send
//! as one source), **read** (bodies, modules, snapshots), **admin** (metrics, and what
//! changes the service). Each is proven by a bearer token, of which only the SHA-256 is
//! known here, or by a client certificate that the TLS handshake has verified, or both.
//!
//! A token is hashed where the request comes in ([`Caller`]); no other code sees it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use auditchain_log::{Hash, sha256};
use axum::http::{HeaderMap, header};
use serde::Deserialize;

use crate::config::Config;
use crate::problem::Problem;
use crate::tls::PeerCertificate;
use crate::tokens::{Tokens, TokensError};

/// A right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Send events as one source.
    Ingest,
    /// Read what can name people.
    Read,
    /// Operate the service.
    Admin,
}

/// What proves that a caller is who the configuration names.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// The source's, reader's or admin's name.
    pub(crate) name: String,
    /// SHA-256 of a bearer token; the tokens file may name more.
    pub(crate) token: Option<Hash>,
    /// The client certificate.
    pub(crate) certificate: Option<CertificateName>,
    /// Which of them must be shown.
    pub(crate) demand: Demand,
}

/// What a caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Demand {
    /// Nothing: for loopback.
    #[serde(skip)]
    Nothing,
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
    /// Both.
    Both,
    /// One of the two.
    Either,
}

/// Which client certificate is meant, by one of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CertificateName {
    /// The subject's common name, as kube-apiserver's certificates have one.
    #[serde(default)]
    common_name: Option<String>,
    /// A DNS name among the alternative names.
    #[serde(default)]
    dns_name: Option<String>,
    /// A URI among the alternative names, such as a SPIFFE ID.
    #[serde(default)]
    uri: Option<String>,
    /// SHA-256 of the certificate itself (DER).
    #[serde(default)]
    sha256: Option<Hash>,
}

/// Who sent a request, as far as it was shown. Made where the request comes in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The other end of the connection.
    #[expect(dead_code, reason = "for limits by address, which the pipeline adds")]
    pub(crate) address: IpAddr,
    /// SHA-256 of the bearer token.
    token: Option<Hash>,
    /// The verified client certificate.
    certificate: Option<Arc<PeerCertificate>>,
}

/// Decides.
#[derive(Debug)]
pub(crate) struct Access {
    sources: Vec<Credentials>,
    readers: Vec<Credentials>,
    admins: Vec<Credentials>,
    /// Whether the tokens file may name readers and admins at any time.
    has_tokens_file: bool,
    /// What is not restricted is open to this machine only.
    loopback: bool,
    tokens: ArcSwap<Tokens>,
}

/// How what was shown compares with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Right,
    Wrong,
    Nothing,
}

impl Caller {
    /// Takes the token out of the headers, so that nothing behind can print it.
    pub(crate) fn new(
        address: IpAddr,
        certificate: Option<Arc<PeerCertificate>>,
        headers: &mut HeaderMap,
    ) -> Self {
        let token = headers.remove(header::AUTHORIZATION);
        let token = token.as_ref().and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"Bearer ")
                .then(|| sha256(&[token]))
        });
        Self {
            address,
            token,
            certificate,
        }
    }
}

impl CertificateName {
    /// Exactly one name says which certificate is meant.
    ///
    /// # Errors
    /// None or several.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let texts = [&self.common_name, &self.dns_name, &self.uri];
        let given = texts.iter().filter(|text| text.is_some()).count();
        if given + usize::from(self.sha256.is_some()) != 1 {
            return Err("give one of commonName, dnsName, uri and sha256");
        }
        if texts.iter().any(|text| text.as_deref() == Some("")) {
            return Err("an empty name matches no certificate");
        }
        Ok(())
    }

    fn matches(&self, certificate: &PeerCertificate) -> bool {
        let Self {
            common_name,
            dns_name,
            uri,
            sha256,
        } = self;
        common_name.is_some() && *common_name == certificate.common_name
            || dns_name.as_ref().is_some_and(|name| {
                let same = |other: &String| other.eq_ignore_ascii_case(name);
                certificate.dns_names.iter().any(same)
            })
            || uri
                .as_ref()
                .is_some_and(|uri| certificate.uris.contains(uri))
            || *sha256 == Some(certificate.sha256)
    }
}

impl Credentials {
    /// What has to be shown if the configuration doesn't say it: all that is configured,
    /// and a token where nothing is but a tokens file.
    pub(crate) fn new(
        name: &str,
        token: Option<Hash>,
        certificate: Option<&CertificateName>,
        demand: Option<Demand>,
        has_tokens_file: bool,
    ) -> Self {
        let demand = demand.unwrap_or(match (token.is_some(), certificate.is_some()) {
            (true, true) => Demand::Both,
            (false, true) => Demand::Certificate,
            (true, false) => Demand::Token,
            (false, false) if has_tokens_file => Demand::Token,
            (false, false) => Demand::Nothing,
        });
        Self {
            name: name.into(),
            token,
            certificate: certificate.cloned(),
            demand,
        }
    }

    /// What makes the demand impossible to meet.
    ///
    /// # Errors
    /// A token or certificate is demanded that isn't configured.
    pub(crate) fn check(&self, has_tokens_file: bool) -> Result<(), &'static str> {
        let token = self.token.is_some() || has_tokens_file;
        let certificate = self.certificate.is_some();
        match self.demand {
            Demand::Token if !token => Err("require: token needs a tokenSha256 or a tokensFile"),
            Demand::Certificate if !certificate => {
                Err("require: certificate needs a clientCertificate")
            }
            Demand::Both | Demand::Either if !(token && certificate) => Err(
                "require: both or either needs a clientCertificate, and a tokenSha256 or a tokensFile",
            ),
            _ => Ok(()),
        }
    }

    fn shown(&self, role: Role, caller: &Caller, tokens: &Tokens) -> (Shown, Shown) {
        let compare = |shown: Option<bool>| match shown {
            Some(true) => Shown::Right,
            Some(false) => Shown::Wrong,
            None => Shown::Nothing,
        };
        // Hashes are compared, so how long it takes says nothing of the token.
        let token = caller.token.map(|token| {
            self.token == Some(token) || tokens.name_of(role, &token) == Some(&*self.name)
        });
        let certificate = caller.certificate.as_deref().map(|certificate| {
            let known = self.certificate.as_ref();
            known.is_some_and(|known| known.matches(certificate))
        });
        (compare(token), compare(certificate))
    }

    fn admits(&self, (token, certificate): (Shown, Shown)) -> bool {
        let (token, certificate) = (token == Shown::Right, certificate == Shown::Right);
        match self.demand {
            Demand::Nothing => true,
            Demand::Token => token,
            Demand::Certificate => certificate,
            Demand::Both => token && certificate,
            Demand::Either => token || certificate,
        }
    }
}

impl Access {
    /// Of the configuration; reads the tokens file.
    ///
    /// # Errors
    /// It can't be used.
    pub(crate) fn new(config: &Config) -> Result<Self, TokensError> {
        let access = Self {
            sources: config.source_credentials().collect(),
            readers: config.reader_credentials().collect(),
            admins: config.admin_credentials().collect(),
            has_tokens_file: config.tokens_file.is_some(),
            loopback: config.listen.ip().is_loopback(),
            tokens: ArcSwap::default(),
        };
        if let Some(path) = &config.tokens_file {
            access.take_tokens(path, &crate::reload::read(path)?)?;
        }
        Ok(access)
    }

    /// Takes the content of a tokens file; it holds from the next request on.
    ///
    /// # Errors
    /// It can't be used; what was in force stays.
    pub(crate) fn take_tokens(&self, path: &Path, text: &[u8]) -> Result<(), TokensError> {
        let known = |name: &str| self.sources.iter().any(|source| source.name == name);
        let tokens = Tokens::parse(path, text, known)?;
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// Whether sources are configured: if not, anyone may send, which the configuration
    /// allows on loopback only.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Who may send as a source.
    ///
    /// # Errors
    /// Not this caller.
    pub(crate) fn authorize_source(&self, source: &str, caller: &Caller) -> Result<(), Problem> {
        let Some(known) = self.sources.iter().find(|known| known.name == source) else {
            return Err(Problem::forbidden(format!(
                "source {source:?} is not configured; add it under sources"
            )));
        };
        let shown = known.shown(Role::Ingest, caller, &self.tokens.load());
        let expired = caller.certificate_expired();
        if known.admits(shown) && !expired {
            return Ok(());
        }
        let (token, certificate) = shown;
        let demand = known.demand;
        let by_certificate = demand != Demand::Token;
        // With a certificate at hand it is no question of who the caller is.
        if by_certificate && certificate == Shown::Wrong {
            let whose = caller.certificate.as_deref();
            let whose = whose.map_or_else(String::new, ToString::to_string);
            return Err(Problem::forbidden(format!(
                "the client certificate ({whose}) is not the one of source {source:?}"
            )));
        }
        Err(Problem::unauthorized(match (demand, token) {
            _ if expired => EXPIRED,
            (Demand::Certificate, _) => "present the source's client certificate",
            (Demand::Both, _) if certificate == Shown::Nothing => {
                "present the source's client certificate, and its token as Authorization: Bearer TOKEN"
            }
            (_, Shown::Wrong) => "the token is not this source's",
            (Demand::Either, _) => {
                "present the source's client certificate, or its token as Authorization: Bearer TOKEN"
            }
            _ => "send the source's token as Authorization: Bearer TOKEN",
        }))
    }

    /// Who may read what can name people.
    ///
    /// # Errors
    /// Not this caller.
    pub(crate) fn authorize_reader(&self, caller: &Caller) -> Result<(), Problem> {
        self.authorize_person(Role::Read, &self.readers, caller)
    }

    /// Who may operate the service.
    ///
    /// # Errors
    /// Not this caller.
    pub(crate) fn authorize_admin(&self, caller: &Caller) -> Result<(), Problem> {
        self.authorize_person(Role::Admin, &self.admins, caller)
    }

    fn authorize_person(
        &self,
        role: Role,
        people: &[Credentials],
        caller: &Caller,
    ) -> Result<(), Problem> {
        let (who, members, what) = match role {
            Role::Admin => ("an admin", "admins", "this is"),
            _ => ("a reader", "readers", "bodies are"),
        };
        if people.is_empty() && !self.has_tokens_file {
            return if self.loopback {
                Ok(())
            } else {
                Err(Problem::forbidden(format!(
                    "{what} served on loopback only unless {members} are configured"
                )))
            };
        }
        if caller.certificate_expired() {
            return Err(Problem::unauthorized(EXPIRED));
        }
        let tokens = self.tokens.load();
        if people
            .iter()
            .any(|one| one.admits(one.shown(role, caller, &tokens)))
        {
            return Ok(());
        }
        let named = caller.token.and_then(|token| {
            let name = tokens.name_of(role, &token)?;
            Some(people.iter().any(|one| one.name == name))
        });
        match (named, caller.token, &caller.certificate) {
            // Who is not under readers or admins needs no more than the token.
            (Some(false), ..) => Ok(()),
            (Some(true), ..) => Err(Problem::unauthorized(format!(
                "present {who}'s client certificate too"
            ))),
            (None, Some(_), _) => Err(Problem::unauthorized(format!("the token is not {who}'s"))),
            (None, None, Some(certificate)) => Err(Problem::forbidden(format!(
                "the client certificate ({certificate}) is not {who}'s"
            ))),
            (None, None, None) => Err(Problem::unauthorized(format!(
                "send {who}'s token as Authorization: Bearer TOKEN, or present a client certificate"
            ))),
        }
    }
}

/// A connection may outlive the certificate that opened it.
const EXPIRED: &str = "the client certificate has expired; connect again with a new one";

impl Caller {
    fn certificate_expired(&self) -> bool {
        let certificate = self.certificate.as_deref();
        certificate.is_some_and(|certificate| certificate.not_after < SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn caller(token: Option<&str>, common_name: Option<&str>) -> Caller {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = format!("bearer {token}").parse().unwrap();
            headers.insert(header::AUTHORIZATION, value);
        }
        let certificate = common_name.map(|name| {
            Arc::new(PeerCertificate {
                common_name: Some(name.into()),
                dns_names: vec!["a.example".into()],
                uris: vec!["spiffe://a/b".into()],
                sha256: sha256(&[name.as_bytes()]),
                not_after: SystemTime::now() + Duration::from_secs(60),
            })
        });
        let caller = Caller::new(IpAddr::from([127, 0, 0, 1]), certificate, &mut headers);
        assert!(headers.is_empty(), "the token is gone from the headers");
        caller
    }

    fn access(demand: Demand, tokens: &str) -> Access {
        let certificate = CertificateName {
            common_name: Some("kube".into()),
            ..CertificateName::default()
        };
        let one = Credentials {
            name: "eu".into(),
            token: Some(sha256(&[b"secret"])),
            certificate: Some(certificate),
            demand,
        };
        let access = Access {
            sources: vec![one.clone()],
            readers: vec![one.clone()],
            admins: vec![one],
            has_tokens_file: true,
            loopback: true,
            tokens: ArcSwap::default(),
        };
        access
            .take_tokens(Path::new("tokens"), tokens.as_bytes())
            .unwrap();
        access
    }

    #[test]
    fn each_demand_takes_what_it_says_and_nothing_else() {
        use Demand::{Both, Certificate, Either, Nothing, Token};
        for (demand, token, certificate, status) in [
            (Nothing, None, None, 200),
            (Token, Some("secret"), None, 200),
            (Token, Some("secret"), Some("other"), 200),
            (Token, Some("wrong"), Some("kube"), 401),
            (Token, None, Some("kube"), 401),
            (Certificate, None, Some("kube"), 200),
            (Certificate, Some("secret"), None, 401),
            (Certificate, Some("secret"), Some("other"), 403),
            (Both, Some("secret"), Some("kube"), 200),
            (Both, Some("wrong"), Some("kube"), 401),
            (Both, None, Some("kube"), 401),
            (Both, Some("secret"), None, 401),
            (Both, Some("secret"), Some("other"), 403),
            (Either, Some("secret"), None, 200),
            (Either, Some("secret"), Some("other"), 200),
            (Either, Some("wrong"), Some("kube"), 200),
            (Either, Some("wrong"), Some("other"), 403),
            (Either, Some("wrong"), None, 401),
            (Either, None, None, 401),
        ] {
            let access = access(demand, "");
            let caller = caller(token, certificate);
            let answer = access.authorize_source("eu", &caller);
            let found = answer
                .as_ref()
                .map_or_else(|p| p.status().as_u16(), |()| 200);
            assert_eq!(
                found, status,
                "{demand:?} {token:?} {certificate:?} {answer:?}"
            );
            // Readers and admins are let in by the same rule.
            let same = status == 200;
            assert_eq!(access.authorize_reader(&caller).is_ok(), same, "{demand:?}");
            assert_eq!(access.authorize_admin(&caller).is_ok(), same, "{demand:?}");
        }
    }

    #[test]
    fn rights_do_not_include_one_another() {
        let line = |token: &str, rest: &str| format!("{} {rest}\n", sha256(&[token.as_bytes()]));
        let file = line("i", "ingest eu") + &line("r", "read bob") + &line("a", "admin eve");
        let access = access(Demand::Token, &file);
        let may = |token| {
            let caller = caller(Some(token), None);
            [
                access.authorize_source("eu", &caller).is_ok(),
                access.authorize_reader(&caller).is_ok(),
                access.authorize_admin(&caller).is_ok(),
            ]
        };
        assert_eq!(may("i"), [true, false, false]);
        assert_eq!(may("r"), [false, true, false]);
        assert_eq!(may("a"), [false, false, true]);
        assert_eq!(may(""), [false, false, false]);
    }

    #[test]
    fn a_line_of_the_file_does_not_soften_what_its_name_demands() {
        let file = format!("{} read eu\n", sha256(&[b"r"]));
        let access = access(Demand::Both, &file);
        assert!(access.authorize_reader(&caller(Some("r"), None)).is_err());
        assert!(
            access
                .authorize_reader(&caller(Some("r"), Some("kube")))
                .is_ok()
        );
    }

    #[test]
    fn a_certificate_is_known_by_any_one_of_its_names() {
        let certificate = caller(None, Some("kube")).certificate.unwrap();
        let name = |yaml: &str| serde_saphyr::from_str::<CertificateName>(yaml).unwrap();
        for (yaml, matches) in [
            ("commonName: kube", true),
            ("commonName: Kube", false),
            ("dnsName: A.example", true),
            ("dnsName: example", false),
            ("uri: spiffe://a/b", true),
            ("uri: spiffe://a", false),
        ] {
            assert!(name(yaml).check().is_ok());
            assert_eq!(name(yaml).matches(&certificate), matches, "{yaml}");
        }
        let digest = sha256(&[b"kube"]);
        assert!(name(&format!("sha256: {digest}")).matches(&certificate));
        for bad in ["{}", "{commonName: a, uri: b}", "commonName: ''"] {
            assert!(name(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_expired_certificate_is_refused_on_an_open_connection() {
        let access = access(Demand::Certificate, "");
        let mut caller = caller(None, Some("kube"));
        let mut certificate = PeerCertificate::clone(caller.certificate.as_ref().unwrap());
        certificate.not_after = SystemTime::now() - Duration::from_secs(1);
        caller.certificate = Some(Arc::new(certificate));
        let problem = access.authorize_source("eu", &caller).unwrap_err();
        assert_eq!(problem.status().as_u16(), 401);
        assert!(access.authorize_reader(&caller).is_err());
    }
}
