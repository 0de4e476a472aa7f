//! Certificates made for a test, and connections that look at the bytes.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use auditchain_tests::{Programs, Service, programs};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

pub(crate) const PROGRAMS: Programs = programs!();
pub(crate) const EMPTY: &str =
    r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}"#;

/// A certificate authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A directory with a CA, a service's certificate and its configuration.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) ca: Ca,
    /// The CA of client certificates.
    pub(crate) clients: Ca,
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate; `year` is when it expires.
    pub(crate) fn issue(&self, common_name: &str, alternative: &[&str], year: i32) -> Pair {
        let names: Vec<String> = alternative.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Site {
    /// `more` is added to the configuration.
    pub(crate) fn new(more: &str) -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            ca: Ca::new("services"),
            clients: Ca::new("clients"),
        };
        site.put("server", &site.server("first"));
        site.write("ca.pem", &site.ca.pem());
        site.write("clients.pem", &site.clients.pem());
        site.write(
            "config.yaml",
            &format!(
                "apiVersion: auditchain.io/v1alpha1\nkind: ServiceConfig\ntls:\n  certFile: server.pem\n  keyFile: server.key\n  clientCaFile: clients.pem\n{more}"
            ),
        );
        site
    }

    pub(crate) fn server(&self, name: &str) -> Pair {
        self.ca.issue(name, &["127.0.0.1", "localhost"], 2099)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        // Beside it and moved there, as a Secret is: nobody sees half of it.
        let (path, new) = (self.path(name), self.path("new"));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub(crate) fn put(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.key"), &pair.key);
        self.write(&format!("{name}.pem"), &pair.certificate);
    }

    pub(crate) fn start(&self) -> Service {
        let config = self.path("config.yaml");
        PROGRAMS.start(&self.path("log"), &["--config", config.to_str().unwrap()])
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("log.stderr")).unwrap()
    }

    /// A connection with this client certificate, which speaks HTTP/1.1.
    pub(crate) fn connect(&self, service: &Service, client: Option<&Pair>) -> Tls {
        self.try_connect(service, client).unwrap()
    }

    pub(crate) fn try_connect(
        &self,
        service: &Service,
        client: Option<&Pair>,
    ) -> std::io::Result<Tls> {
        let mut config = client_config(&self.ca, client, rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp(&service.url));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

pub(crate) fn client_config(
    ca: &Ca,
    client: Option<&Pair>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// A plain connection to where a URL points.
pub(crate) fn tcp(url: &str) -> TcpStream {
    let address = url.split_once("://").unwrap().1;
    let stream = TcpStream::connect(address).unwrap();
    // Long: what is tested is that the service ends it, not when.
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Sends a request on an open connection and reads its answer: status and body.
pub(crate) fn ask(stream: &mut Tls, head: &str, body: &str) -> (u16, String) {
    let request = format!(
        "{head} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

/// The same with a token.
pub(crate) fn ask_as(stream: &mut Tls, head: &str, token: &str, body: &str) -> (u16, String) {
    ask(
        stream,
        &format!("{head} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nX-Rest:"),
        body,
    )
}

/// Reads one answer.
pub(crate) fn answer(stream: &mut impl std::io::Read) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).map_or(0, |rest| {
        rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
    });
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// Reads until the other side ends the connection, in whatever way.
pub(crate) fn ended(stream: &mut impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let kind = error.kind();
        assert!(
            !matches!(
                kind,
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
            "the service did not end the connection"
        );
    }
    bytes
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A token's SHA-256, hex.
pub(crate) fn hash(token: &str) -> String {
    auditchain_log::sha256(&[token.as_bytes()]).to_string()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
