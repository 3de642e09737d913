//! The way through a proxy.

use influx_spool::Proxy;

use super::support::nginx::Nginx;
use super::support::scripted::{NO_CONTENT, Script, Scripted, Step};
use super::tls::{Authority, TLS_SERVER};
use super::{LONG, check_delivers, run, start};

fn address(url: &str) -> String {
    url.split("://").nth(1).unwrap().to_owned()
}

#[test]
fn a_proxy_is_given_the_whole_url_and_our_name_there() {
    run(async {
        let proxy = Scripted::playing([Script::answer(NO_CONTENT)]);
        let url = format!("http://me:s3cret@{}", address(&proxy.url()));
        let db = start("proxied", "http://influx.example:8086", |config| config.http.proxy = Proxy::Url(url));
        check_delivers(&db).await;
        let seen = proxy.seen().remove(0);
        assert!(seen.target.starts_with("http://influx.example:8086/write?db=proxied"), "{}", seen.target);
        // "me:s3cret"
        assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6czNjcmV0"));
        db.stop(LONG).await.unwrap();
    });
}

#[test]
fn what_is_encrypted_passes_a_proxy_unread() {
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let files = [("cert.pem", &*certificate), ("key.pem", &*key)];
    let Some(nginx) = Nginx::start(&files, TLS_SERVER) else { return };
    run(async {
        let server = address(&nginx.https_url());
        let proxy = Scripted::start(move |_, seen| {
            assert_eq!((&*seen.method, &*seen.target), ("CONNECT", &*server));
            Script::steps([Step::Tunnel(server.clone())])
        });
        let db = start("proxied", nginx.https_url(), |config| {
            config.http.proxy = Proxy::Url(proxy.url());
            config.http.tls.ca_file = Some(authority.file());
        });
        check_delivers(&db).await;
        assert_eq!(proxy.seen().len(), 1);
        db.stop(LONG).await.unwrap();
    });
}
