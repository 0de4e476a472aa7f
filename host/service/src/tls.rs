//! TLS by rustls with ring: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, and client
//! certificates that are verified if they are presented.
//!
//! Certificate, key and client CA are one unit: they are read, checked and put in force
//! together ([`Tls::take`]), as a Secret that is mounted changes them together. Each
//! time it is a new configuration, so no session of an old one can be resumed.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use auditchain_log::{Hash, sha256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

use crate::reload::{ReadError, read};

/// HTTP/2 first: an apiserver's events share one connection then.
pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";
/// Certificates of a file: a chain has a few, a bundle of CAs may have many.
const CERTIFICATES_MAX: usize = 256;
/// Names of a peer's certificate that are kept.
const NAMES_MAX: usize = 64;
/// id-at-commonName.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
    /// CAs of client certificates, PEM.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(crate) struct TlsContent {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What new connections are served with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

/// Names of a client certificate that the handshake has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// The subject's common name, if it has exactly one.
    pub(crate) common_name: Option<String>,
    /// DNS names among the alternative names.
    pub(crate) dns_names: Vec<String>,
    /// URIs among the alternative names.
    pub(crate) uris: Vec<String>,
    /// SHA-256 of the certificate (DER).
    pub(crate) sha256: Hash,
    /// When it expires.
    pub(crate) not_after: SystemTime,
}

/// Why the files can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// A file can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Anyone on the machine could read the key.
    #[error(
        "{path} can be read by everyone (mode {mode:o}); run: chmod o= {path}, or mount the Secret with defaultMode: 0440 and set the pod's fsGroup"
    )]
    Mode {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file's PEM can't be used.
    #[error("{path}: {reason}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key don't fit, or a certificate is of a kind that rustls refuses.
    #[error("{path}: {error}; the certificate and {key} must belong together")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// The certificate has expired.
    #[error("{path}: the certificate expired at {at}; put a new one there")]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When.
        at: jiff::Timestamp,
    },
}

impl Tls {
    /// Reads the files and checks them. Also says when the certificate expires.
    ///
    /// # Errors
    /// They can't be used.
    pub(crate) fn load(files: &TlsFiles) -> Result<(Self, SystemTime), TlsError> {
        let (config, not_after) = build(files, &files.read()?)?;
        let tls = Self {
            files: files.clone(),
            current: ArcSwap::new(Arc::new(config)),
        };
        Ok((tls, not_after))
    }

    /// The files.
    pub(crate) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What the next connection is served with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Puts new content in force for the connections to come.
    ///
    /// # Errors
    /// It can't be used; what was in force stays.
    pub(crate) fn take(&self, content: &TlsContent) -> Result<SystemTime, TlsError> {
        let (config, not_after) = build(&self.files, content)?;
        self.current.store(Arc::new(config));
        Ok(not_after)
    }
}

impl TlsFiles {
    /// Reads the files. The key may be read by its owner and its group, as in a Secret
    /// that is mounted for a pod which doesn't run as root.
    ///
    /// # Errors
    /// One can't be read, or everyone can read the key.
    pub(crate) fn read(&self) -> Result<TlsContent, TlsError> {
        let metadata = std::fs::metadata(&self.key).map_err(ReadError::of(&self.key))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(TlsError::Mode {
                path: self.key.clone(),
                mode,
            });
        }
        Ok(TlsContent {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

impl PeerCertificate {
    /// Of a certificate that was verified.
    ///
    /// # Errors
    /// It can't be parsed, or has more names than we look at.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, String> {
        let text = |error: x509_cert::der::Error| error.to_string();
        let parsed = x509_cert::Certificate::from_der(der).map_err(text)?;
        let tbs = parsed.tbs_certificate();
        let mut common_names = tbs.subject().iter().filter(|part| part.oid == COMMON_NAME);
        let common_name = match (common_names.next(), common_names.next()) {
            (Some(only), None) => DirectoryString::try_from(&only.value).ok(),
            _ => None,
        };
        let alternative = tbs.get_extension::<SubjectAltName>().map_err(text)?;
        let names = alternative.map_or_else(Vec::new, |(_, names)| names.0);
        if names.len() > NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} alternative names"));
        }
        let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::DnsName(name) => dns_names.push(name.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
                _ => {}
            }
        }
        Ok(Self {
            common_name: common_name.map(|name| name.value().into_owned()),
            dns_names,
            uris,
            sha256: sha256(&[der]),
            not_after: tbs.validity().not_after.to_system_time(),
        })
    }
}

impl fmt::Display for PeerCertificate {
    /// The name that says most, and the digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.common_name {
            write!(f, "commonName {name:?}, ")?;
        } else if let Some(name) = self.uris.first().or(self.dns_names.first()) {
            write!(f, "{name:?}, ")?;
        }
        write!(f, "sha256 {}", self.sha256)
    }
}

fn build(files: &TlsFiles, content: &TlsContent) -> Result<(ServerConfig, SystemTime), TlsError> {
    let path = &files.certificate;
    let chain = certificates(path, &content.certificate)?;
    let mut not_after = None;
    for certificate in &chain {
        let parsed = PeerCertificate::parse(certificate).map_err(|reason| TlsError::Pem {
            path: path.clone(),
            reason,
        })?;
        not_after = Some(not_after.map_or(parsed.not_after, |at| parsed.not_after.min(at)));
    }
    // `certificates` gives at least one.
    let not_after = not_after.unwrap_or(SystemTime::UNIX_EPOCH);
    if not_after < SystemTime::now() {
        return Err(TlsError::Expired {
            path: path.clone(),
            at: jiff::Timestamp::try_from(not_after).unwrap_or_default(),
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| TlsError::Pem {
        path: files.key.clone(),
        reason: "no private key in PEM".into(),
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |error| TlsError::Pair {
        path: path.clone(),
        key: files.key.clone(),
        error,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(pair)?;
    let builder = match (&files.client_ca, &content.client_ca) {
        (Some(path), Some(pem)) => {
            let bad = |reason: String| TlsError::Pem {
                path: path.clone(),
                reason,
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
            // Without one a caller may still show a token, or read what is open.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(|e| bad(e.to_string()))?)
        }
        _ => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok((config, not_after))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: &str| TlsError::Pem {
        path: path.into(),
        reason: reason.into(),
    };
    let certificates = CertificateDer::pem_slice_iter(pem)
        .take(CERTIFICATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad("the PEM is damaged"))?;
    match certificates.len() {
        0 => Err(bad("no certificate in PEM")),
        1..=CERTIFICATES_MAX => Ok(certificates),
        _ => Err(bad("more than 256 certificates")),
    }
}
