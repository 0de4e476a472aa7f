//! What a connection to a service needs: a CA, a client certificate, a bearer token.
//!
//! Whom to trust is said by `--ca`; without it the machine's own list of CAs counts,
//! which its operator keeps up to date. No list is built in: it would age.

use std::env;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::http::HttpError;
use crate::limits::{CA_CERTIFICATES_MAX, CONNECT_FILE_BYTES_MAX};

/// Environment variable with the bearer token: of a source for what is sent, of a reader
/// for what is read.
pub(crate) const TOKEN_VARIABLE: &str = "AUDITCHAIN_TOKEN";
const CA_VARIABLE: &str = "AUDITCHAIN_CA";
const CLIENT_CERT_VARIABLE: &str = "AUDITCHAIN_CLIENT_CERT";
const CLIENT_KEY_VARIABLE: &str = "AUDITCHAIN_CLIENT_KEY";
const TOKEN_FILE_VARIABLE: &str = "AUDITCHAIN_TOKEN_FILE";

/// How to reach a service.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// CA certificates of the service (PEM) [default: this machine's]
    #[arg(long, env = CA_VARIABLE, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Client certificate and its chain (PEM)
    #[arg(long, env = CLIENT_CERT_VARIABLE, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM)
    #[arg(long, env = CLIENT_KEY_VARIABLE, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// File with the bearer token; else it is taken from AUDITCHAIN_TOKEN
    #[arg(long, env = TOKEN_FILE_VARIABLE, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl ConnectArgs {
    /// From the environment alone.
    #[must_use]
    pub fn from_env() -> Self {
        let path = |variable| {
            let value = env::var_os(variable).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Self {
            ca: path(CA_VARIABLE),
            client_cert: path(CLIENT_CERT_VARIABLE),
            client_key: path(CLIENT_KEY_VARIABLE),
            token_file: path(TOKEN_FILE_VARIABLE),
        }
    }
}

/// The bearer token, if there is one.
pub(crate) fn token(args: &ConnectArgs) -> Result<Option<String>, HttpError> {
    let (token, place) = match &args.token_file {
        Some(path) => {
            let text = String::from_utf8(read(path)?).unwrap_or_default();
            let token = text.trim().to_owned();
            if token.is_empty() {
                return Err(HttpError::Connect(format!("{}: no token", path.display())));
            }
            (token, path.display().to_string())
        }
        None => match env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => (token, TOKEN_VARIABLE.to_owned()),
            _ => return Ok(None),
        },
    };
    // The text itself is not repeated: it may be most of a token.
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(token));
    }
    Err(HttpError::Connect(format!(
        "{place} holds spaces or characters that no token has"
    )))
}

/// TLS by rustls with ring, as in the service.
pub(crate) fn tls_config(args: &ConnectArgs) -> Result<TlsConfig, HttpError> {
    let roots = match &args.ca {
        Some(path) => certificates(path)?,
        None => system_roots()?,
    };
    let client_cert = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => {
            let bad = |_| HttpError::Connect(format!("{}: no private key in PEM", key.display()));
            let key = PrivateKey::from_pem(&read(key)?).map_err(bad)?;
            Some(ClientCert::new_with_certs(&certificates(certificate)?, key))
        }
        (None, None) => None,
        _ => {
            return Err(HttpError::Connect(format!(
                "a client certificate needs both --client-cert ({CLIENT_CERT_VARIABLE}) and --client-key ({CLIENT_KEY_VARIABLE})"
            )));
        }
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .client_cert(client_cert)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, HttpError> {
    let bad = |why: &str| HttpError::Connect(format!("{}: {why}", path.display()));
    let mut certificates = Vec::new();
    for item in parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| bad("the PEM is damaged"))? {
            certificates.push(certificate);
        }
        if certificates.len() > CA_CERTIFICATES_MAX {
            return Err(bad("more certificates than any list of CAs has"));
        }
    }
    if certificates.is_empty() {
        return Err(bad("no certificate in PEM"));
    }
    Ok(certificates)
}

fn system_roots() -> Result<Vec<Certificate<'static>>, HttpError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(HttpError::Connect(
            "this machine has no list of CAs: give the service's CA by --ca FILE".into(),
        ));
    }
    let owned = |certificate: &rustls::pki_types::CertificateDer<'_>| {
        Certificate::from_der(certificate.as_ref()).to_owned()
    };
    Ok(found.certs.iter().map(owned).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, HttpError> {
    let bad = |why: String| HttpError::Connect(format!("can't read {}: {why}", path.display()));
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| {
            file.take(CONNECT_FILE_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > CONNECT_FILE_BYTES_MAX {
        return Err(bad(format!(
            "it has more than {CONNECT_FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}
