//! Whom we trust, and how we prove who we are.
//!
//! The TLS configuration is made here rather than by reqwest: reqwest would take the process's default provider, which is
//! the application's to choose, and would load the system's authorities where nothing is encrypted.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::file::{FileStamp, LocalError};
use crate::values::config::TlsConfig;

const CA_FILE: &str = "http.tls.ca_file";
const CERT_FILE: &str = "http.tls.cert_file";
const KEY_FILE: &str = "http.tls.key_file";

/// Reading the system's authorities takes 10 ms (Debian, 146 of them). They change with an update of the system.
const SYSTEM_ROOTS_AGE_MAX: Duration = Duration::from_secs(600);

/// Makes the configuration of rustls; `Plain` never loads a certificate.
#[derive(Clone, PartialEq)]
pub(super) enum Tls {
    /// Nothing is encrypted.
    Plain,
    Encrypted(TlsConfig),
}

impl Tls {
    /// # Errors
    /// A file cannot be read, or what it holds cannot be used.
    pub(super) fn client_config(&self) -> Result<ClientConfig, LocalError> {
        let Self::Encrypted(config) = self else { return plain() };
        let roots = roots(config)?;
        let provider = Arc::new(ring::default_provider());
        let builder = versions(Arc::clone(&provider))?;
        let builder = if config.verify {
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| LocalError::of_file(KEY_FILE, key_file, error))?;
                builder
                    .with_client_auth_cert(certificates(CERT_FILE, cert_file)?, key)
                    .map_err(|error| LocalError::of_file(CERT_FILE, cert_file, error))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    /// What the files look like now.
    pub(super) fn stamps(&self) -> [Option<FileStamp>; 3] {
        let Self::Encrypted(config) = self else { return [None, None, None] };
        [&config.ca_file, &config.cert_file, &config.key_file]
            .map(|file| file.as_deref().and_then(FileStamp::of))
    }
}

/// What is asked for where nothing is encrypted: it trusts nobody. One for all databases, since it has room for sessions.
fn plain() -> Result<ClientConfig, LocalError> {
    static PLAIN: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(plain) = PLAIN.get() {
        return Ok(plain.clone());
    }
    let builder = versions(Arc::new(ring::default_provider()))?;
    let plain = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Ok(PLAIN.get_or_init(|| plain).clone())
}

fn versions(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, LocalError> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LocalError::new("http.tls", error.to_string()))
}

fn roots(config: &TlsConfig) -> Result<Arc<RootCertStore>, LocalError> {
    let trusts_system = config.system_roots && config.verify;
    let mut roots = if trusts_system { system_roots() } else { Arc::new(RootCertStore::empty()) };
    if let Some(file) = &config.ca_file {
        for certificate in certificates(CA_FILE, file)? {
            let added = Arc::make_mut(&mut roots).add(certificate);
            added.map_err(|error| LocalError::of_file(CA_FILE, file, error))?;
        }
    }
    Ok(roots)
}

/// The system's authorities, read once for all databases and shared by them: they take 0.1 MB. One that cannot be read is left
/// out, as elsewhere: if it was needed, the handshake says so.
fn system_roots() -> Arc<RootCertStore> {
    static LOADED: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    // Held while they are read: whoever comes second need not read them again.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, roots)) = loaded.as_ref().filter(|(read, _)| read.elapsed() < SYSTEM_ROOTS_AGE_MAX) {
        return Arc::clone(roots);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let roots = Arc::new(roots);
    *loaded = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

fn certificates(setting: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, LocalError> {
    let bad = |cause: &dyn std::fmt::Display| LocalError::of_file(setting, file, cause);
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| bad(&error))?;
    if certificates.is_empty() {
        return Err(bad(&"holds no certificate"));
    }
    Ok(certificates)
}

/// Takes anybody for the server: `verify = false`. Signatures are not looked at either, as nobody is known to have made them.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
