//! Whom we trust, how we prove who we are, and certificates that are replaced under a running database.

use std::path::PathBuf;
use std::time::Duration;

use influx_spool::{Database, TlsConfig, TroubleKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::support::nginx::Nginx;
use super::{LONG, check_all_delivered, check_delivers, push, run, start, trouble};

/// A server that takes everything.
pub(crate) const TLS_SERVER: &str = "server { listen 127.0.0.1:PORT ssl; ssl_certificate FOLDER/cert.pem; \
     ssl_certificate_key FOLDER/key.pem; location / { return 204; } }";

/// A certificate authority, with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = named(&format!("authority {}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder: tempfile::tempdir().unwrap() };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for `localhost`, and its key.
    pub(crate) fn server(&self) -> (String, String) {
        self.certify("localhost")
    }

    /// A certificate for anybody, and its key.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name);
        params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// Names are all that a certificate says of its issuer: two authorities must not share one.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn tls_server(authority: &Authority, http: &str) -> Option<Nginx> {
    let (certificate, key) = authority.server();
    let authority = std::fs::read_to_string(authority.file()).unwrap();
    Nginx::start(&[("cert.pem", &certificate), ("key.pem", &key), ("clients.pem", &authority)], http)
}

#[test]
fn an_authority_of_our_own_is_trusted_and_a_stranger_is_not() {
    let (ours, strange) = (Authority::new(), Authority::new());
    let Some(nginx) = tls_server(&ours, TLS_SERVER) else { return };
    run(async {
        let db = start("ours", nginx.https_url(), |config| config.http.tls.ca_file = Some(ours.file()));
        check_delivers(&db).await;
        db.stop(LONG).await.unwrap();

        let db = start("any", nginx.https_url(), |config| config.http.tls.verify = false);
        check_delivers(&db).await;
        db.stop(LONG).await.unwrap();

        for ca_file in [None, Some(strange.file())] {
            let db = start("strange", nginx.https_url(), |config| config.http.tls.ca_file = ca_file);
            let mut events = db.subscribe();
            push(&db, 10);
            let words = trouble(&mut events, TroubleKind::Unreachable).await;
            assert!(words.contains("invalid peer certificate: UnknownIssuer"), "{words}");
            assert_eq!(db.stats().pending.points, 10);
            db.stop(Duration::ZERO).await.unwrap();
        }
    });
}

#[test]
fn an_authority_that_changes_is_trusted_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let Some(mut nginx) = tls_server(&old, TLS_SERVER) else { return };
    run(async {
        let file = old.path("trusted.pem");
        std::fs::copy(old.file(), &file).unwrap();
        let db = start("renewed", nginx.https_url(), |config| config.http.tls.ca_file = Some(file.clone()));
        let mut events = db.subscribe();
        check_delivers(&db).await;

        let (certificate, key) = new.server();
        nginx.write("cert.pem", &certificate);
        nginx.write("key.pem", &key);
        nginx.restart();
        push(&db, 10);
        trouble(&mut events, TroubleKind::Unreachable).await;

        std::fs::copy(new.file(), &file).unwrap();
        check_all_delivered(&db).await;
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_certificate_of_our_own_is_shown_and_read_again_when_it_is_there() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let asking = TLS_SERVER
        .replace("location", "ssl_client_certificate FOLDER/clients.pem; ssl_verify_client on; location");
    let Some(mut nginx) = tls_server(&servers, &asking) else { return };
    nginx.write("clients.pem", &std::fs::read_to_string(clients.file()).unwrap());
    nginx.restart();
    run(async {
        let (cert_file, key_file) = (clients.path("us.pem"), clients.path("us.key"));
        let write = |(certificate, key): (String, String)| {
            std::fs::write(&cert_file, certificate).unwrap();
            std::fs::write(&key_file, key).unwrap();
        };
        // One that the server does not know.
        write(servers.certify("us"));
        let db = start("client", nginx.https_url(), |config| {
            config.http.tls.ca_file = Some(servers.file());
            config.http.tls.cert_file = Some(cert_file.clone());
            config.http.tls.key_file = Some(key_file.clone());
        });
        let mut events = db.subscribe();
        push(&db, 10);
        let words = trouble(&mut events, TroubleKind::WrongEndpoint).await;
        assert!(words.contains("SSL certificate error"), "{words}");

        // While a file is being replaced, points wait.
        std::fs::remove_file(&key_file).unwrap();
        let words = trouble(&mut events, TroubleKind::Misconfigured).await;
        assert!(words.contains("http.tls.key_file"), "{words}");

        write(clients.certify("us"));
        check_all_delivered(&db).await;
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_certificate_that_cannot_be_read_is_named_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let check = |change: &dyn Fn(&mut TlsConfig), setting: &str| {
        let builder = Database::builder("bad").http("https://localhost:1");
        let started = builder.configure(|config| change(&mut config.http.tls)).start();
        let words = started.map(drop).unwrap_err().to_string();
        assert!(words.contains(setting), "{words}");
    };
    for file in [empty.clone(), folder.path().join("missing.pem")] {
        check(&|tls| tls.ca_file = Some(file.clone()), "http.tls.ca_file");
        let both = |tls: &mut TlsConfig| {
            tls.cert_file = Some(file.clone());
            tls.key_file = Some(file.clone());
        };
        check(&both, "http.tls.key_file");
    }
}
