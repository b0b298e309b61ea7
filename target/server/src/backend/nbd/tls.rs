//! TLS to a server (NBD, "TLS support"): the server has to prove who it is, and this side does where it was given a
//! certificate.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::address::Endpoint;
use super::link::Stream;

/// What the command line names for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// CAs that are trusted; without it the system's.
    pub ca: Option<PathBuf>,
    /// This side's certificate with its chain.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Whom the server's certificate has to be for, in place of the host that is connected to.
    pub server_name: Option<String>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that was named.
    #[error("{option} {}: {reason}", path.display())]
    File {
        /// The option that named it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The system trusts nobody, or does not say whom.
    #[error("the system has no list of CAs to trust ({0}): name the server's CA with --nbd-ca")]
    NoRoots(String),
    /// What cannot stand in a certificate.
    #[error("{0} is no host name and no address: name the server as its certificate does with --nbd-server-name")]
    Name(String),
    /// The server's certificate, or what it thinks of this side's.
    #[error("{0}")]
    Refused(String),
    /// The network says so.
    #[error("{0}")]
    Io(io::Error),
}

/// TLS as one server is to be spoken to.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// This side has a certificate to show.
    proves_itself: bool,
    /// For messages: whose word counts.
    trusted: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are nobody's business.
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads what is needed.
    ///
    /// # Errors
    /// Which file is wrong, and what to do.
    pub fn new(files: &TlsFiles, endpoint: &Endpoint) -> Result<Self, TlsError> {
        let host = match (&files.server_name, endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp(host, _)) => host.clone(),
            (None, Endpoint::Unix(_)) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host))?;
        let (roots, trusted) = match &files.ca {
            Some(path) => (named_roots(path)?, path.display().to_string()),
            None => (system_roots()?, "the system's list".to_owned()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Refused(error.to_string()))?
            .with_root_certificates(roots);
        let config = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => {
                config.with_client_auth_cert(certificates("--nbd-cert", certificate)?, private_key(key)?).map_err(
                    |error| file("--nbd-key", key, format!("it is not of the certificate --nbd-cert ({error})")),
                )?
            }
            _ => config.with_no_client_auth(),
        };
        let proves_itself = files.certificate.is_some();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, proves_itself, trusted })
    }

    /// TLS over a stream whose next byte is TLS's first.
    ///
    /// # Errors
    /// What is wrong with whose certificate, and what to do.
    pub async fn begin(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, TlsError> {
        match self.connector.connect(self.name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.refusal(&error).unwrap_or(TlsError::Io(error))),
        }
    }

    /// What an error of a stream says about certificates, if anything: a server may refuse this side's after the first words.
    pub fn refusal(&self, error: &io::Error) -> Option<TlsError> {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let text = match cause {
            Some(rustls::Error::InvalidCertificate(reason)) => self.blame_server(reason),
            Some(rustls::Error::NoCertificatesPresented) => "the server shows no certificate".to_owned(),
            Some(rustls::Error::AlertReceived(alert)) => self.blame_us(*alert),
            Some(rustls::Error::InvalidMessage(_)) => "the server answers with something else than TLS".to_owned(),
            Some(other) => other.to_string(),
            None if is_end(error) && self.proves_itself => {
                "the server hangs up: it may not trust the certificate --nbd-cert".to_owned()
            }
            None if is_end(error) => {
                "the server hangs up: it may want a certificate of this side's: give --nbd-cert and --nbd-key"
                    .to_owned()
            }
            None => return None,
        };
        Some(TlsError::Refused(text))
    }

    fn blame_server(&self, reason: &CertificateError) -> String {
        let wanted = shown(&self.name);
        match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired: renew it there".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet: look at the clocks of both sides".to_owned()
            }
            CertificateError::UnknownIssuer => format!(
                "the server's certificate is signed by no CA of {}: name the server's CA with --nbd-ca",
                self.trusted
            ),
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "the server's certificate is not for {wanted} but for {}: connect to that name, or give it with --nbd-server-name",
                if presented.is_empty() { "nobody".to_owned() } else { names(presented) }
            ),
            CertificateError::NotValidForName => format!("the server's certificate is not for {wanted}"),
            CertificateError::Revoked => "the server's certificate was revoked".to_owned(),
            other => format!("the server's certificate is no good: {other}"),
        }
    }

    fn blame_us(&self, alert: AlertDescription) -> String {
        match alert {
            AlertDescription::CertificateRequired => {
                "the server wants a certificate of this side's: give --nbd-cert and --nbd-key".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "the server finds the certificate --nbd-cert expired: renew it".to_owned()
            }
            AlertDescription::UnknownCA => "the server does not know the CA of the certificate --nbd-cert".to_owned(),
            other if self.proves_itself => {
                format!("the server refuses ({other:?}): it may not trust the certificate --nbd-cert")
            }
            other => format!("the server refuses ({other:?}): it may want --nbd-cert and --nbd-key"),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn shown(name: &ServerName<'_>) -> String {
    match name {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(address) => IpAddr::from(*address).to_string(),
        other => format!("{other:?}"),
    }
}

/// Names as rustls has them, `DnsName("box")` or `IpAddress(127.0.0.1)`, without their kinds.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(bare).collect::<Vec<_>>().join(", ")
}

fn file(option: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::File { option, path: path.to_owned(), reason }
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(file(option, path, "there is no certificate in it: it has to be PEM".to_owned())),
        Err(error) => Err(file(option, path, pem_trouble(&error))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            file("--nbd-key", path, "there is no private key in it: it has to be PEM, and not encrypted".to_owned())
        }
        error => file("--nbd-key", path, pem_trouble(&error)),
    })
}

fn pem_trouble(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => format!("it cannot be read: {error}"),
        rustls::pki_types::pem::Error::NoItemsFound => "there is none in it: it has to be PEM".to_owned(),
        other => format!("it is no PEM as it should be: {other}"),
    }
}

fn named_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--nbd-ca", path)? {
        roots.add(certificate).map_err(|error| file("--nbd-ca", path, format!("no certificate of a CA: {error}")))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "it is empty".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(why));
    }
    Ok(roots)
}
