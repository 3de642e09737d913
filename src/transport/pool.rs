//! Connections, shared by all clients on one thread that would make them alike.
//!
//! A thousand databases that write to one server need as many connections as requests are under way at once, not a thousand. A
//! connection is driven by the runtime of the thread it was made on, so each thread has pools of its own: no request wakes another
//! thread, and a thread that ends takes nobody else's connections along.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use rustls::ClientConfig;

use super::endpoints::Endpoints;
use super::failure::failure;
use super::file::{FileStamp, LocalError};
use super::tls::Tls;
use crate::values::config::{Auth, HttpConfig, Proxy};

/// Idle connections are given up before the servers do it: VictoriaMetrics closes after 60 s to the second, and a
/// request that meets the closing has to be made twice.
const IDLE_MAX: Duration = Duration::from_secs(50);

thread_local! {
    /// The newest pool for each of the settings in use. It is kept by whoever uses it.
    static POOLS: RefCell<Vec<Weak<Pool>>> = const { RefCell::new(Vec::new()) };
}

/// How connections are made, whomever they lead to. What is made alike is shared.
#[derive(Clone, PartialEq)]
pub(super) struct PoolSettings {
    headers: HeaderMap,
    tls: Tls,
    proxy: Proxy,
    connect_timeout: Duration,
    age_max: Duration,
}

/// Connections that wait for the next request.
pub(super) struct Pool {
    client: Client,
    settings: PoolSettings,
    born: Instant,
    tls: ClientConfig,
    stamps: [Option<FileStamp>; 3],
    /// Whether a handshake has failed.
    is_distrusted: AtomicBool,
}

impl PoolSettings {
    /// # Errors
    /// Names the setting that cannot be. Files are not looked at.
    pub(super) fn new(config: &HttpConfig, endpoints: &Endpoints) -> Result<Self, LocalError> {
        if let Proxy::Url(url) = &config.proxy {
            proxy(url)?;
        }
        let is_encrypted = endpoints.is_any_encrypted() || is_proxy_encrypted(&config.proxy);
        Ok(Self {
            headers: headers(config)?,
            tls: if is_encrypted { Tls::Encrypted(config.tls.clone()) } else { Tls::Plain },
            proxy: config.proxy.clone(),
            connect_timeout: config.connect_timeout,
            age_max: config.connection_age_max,
        })
    }

    /// Looks at the files, too.
    ///
    /// # Errors
    /// One of them is missing, or cannot be used.
    pub(super) fn check(&self) -> Result<(), LocalError> {
        self.tls.client_config().map(drop)
    }

    fn client(&self, tls: ClientConfig) -> Result<Client, LocalError> {
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(self.headers.clone())
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            // Where points go is not for a server to say, and a redirected POST may lose its body on the way.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        let builder = match &self.proxy {
            Proxy::Environment => builder,
            Proxy::None => builder.no_proxy(),
            Proxy::Url(url) => builder.proxy(proxy(url)?),
        };
        builder.build().map_err(|error| LocalError::new("http", failure(&error).words))
    }
}

impl Pool {
    /// The pool of this thread for these settings; a new one if there is none that is [current](Self::is_current).
    ///
    /// # Errors
    /// A certificate or a key cannot be read, or not be used.
    pub(super) fn of(settings: &PoolSettings) -> Result<Arc<Self>, LocalError> {
        let stamps = settings.tls.stamps();
        let tls = match Self::find(settings) {
            Some(pool) if pool.is_current_with(&stamps) => return Ok(pool),
            Some(old) if old.has_good_tls(&stamps) => old.tls.clone(),
            _ => settings.tls.client_config()?,
        };
        let pool = Arc::new(Self {
            client: settings.client(tls.clone())?,
            settings: settings.clone(),
            born: Instant::now(),
            tls,
            stamps,
            is_distrusted: AtomicBool::new(false),
        });
        pool.list();
        Ok(pool)
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is young enough, and made with files that have not changed and still are to be trusted.
    pub(super) fn is_current(&self) -> bool {
        self.is_current_with(&self.settings.tls.stamps())
    }

    /// Has the files read again for the next connection.
    pub(super) fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Relaxed);
    }

    fn is_current_with(&self, stamps: &[Option<FileStamp>; 3]) -> bool {
        self.has_good_tls(stamps) && self.born.elapsed() < self.settings.age_max
    }

    fn has_good_tls(&self, stamps: &[Option<FileStamp>; 3]) -> bool {
        self.stamps == *stamps && !self.is_distrusted.load(Ordering::Relaxed)
    }

    fn find(settings: &PoolSettings) -> Option<Arc<Self>> {
        let find = |pools: &RefCell<Vec<Weak<Self>>>| {
            pools.borrow().iter().filter_map(Weak::upgrade).find(|pool| pool.settings == *settings)
        };
        // A thread that is ending has none.
        POOLS.try_with(find).ok().flatten()
    }

    /// Puts it in the place of the one before it, and forgets those that nobody keeps any more.
    fn list(self: &Arc<Self>) {
        let _ = POOLS.try_with(|pools| {
            let mut pools = pools.borrow_mut();
            pools.retain(|pool| pool.upgrade().is_some_and(|pool| pool.settings != self.settings));
            pools.push(Arc::downgrade(self));
        });
    }
}

/// What says how a body lies on the wire, and how the connection goes on: with others than ours a server would read other points than
/// were sent, and answer 204.
const FRAMING: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
];

/// What every request carries.
fn headers(config: &HttpConfig) -> Result<HeaderMap, LocalError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("influx-spool/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &config.headers {
        let bad = |what: &str| LocalError::new("http.headers", format!("{name:?} {what}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("is no name of a header"))?;
        if FRAMING.contains(&key) {
            return Err(bad("is set with each body"));
        }
        if key == header::AUTHORIZATION && !matches!(config.auth, Auth::None | Auth::Query { .. }) {
            return Err(bad("is set by `http.auth`"));
        }
        let mut value =
            HeaderValue::from_str(value).map_err(|_| bad("has a value that no header can carry"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// Whether the way to the proxy itself is encrypted.
fn is_proxy_encrypted(proxy: &Proxy) -> bool {
    let is_https = |url: &str| url.starts_with("https://");
    match proxy {
        Proxy::None => false,
        Proxy::Url(url) => is_https(url),
        Proxy::Environment => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|url| is_https(&url))),
    }
}

fn proxy(url: &str) -> Result<reqwest::Proxy, LocalError> {
    let bad = |words: &str| LocalError::new("http.proxy", words);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(bad("must begin with http:// or https://"));
    }
    reqwest::Proxy::all(url).map_err(|_| bad("is no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut HttpConfig)) -> PoolSettings {
        let mut config = HttpConfig::new("http://127.0.0.1:9");
        config.proxy = Proxy::None;
        change(&mut config);
        PoolSettings::new(&config, &Endpoints::new(&config).unwrap()).unwrap()
    }

    fn pool(settings: &PoolSettings) -> Arc<Pool> {
        Pool::of(settings).unwrap()
    }

    #[test]
    fn what_connects_alike_on_one_thread_has_one_pool() {
        let usual = settings(|_| ());
        let kept = pool(&usual);
        assert!(Arc::ptr_eq(&kept, &pool(&settings(|config| config.url = "http://127.0.0.1:10".into()))));
        let changes: [fn(&mut HttpConfig); 5] = [
            |config| config.url = "https://127.0.0.1:9".into(),
            |config| config.proxy = Proxy::Environment,
            |config| config.connect_timeout *= 2,
            |config| config.connection_age_max *= 2,
            |config| _ = config.headers.insert("x-plant".into(), "north".into()),
        ];
        for change in changes {
            assert!(!Arc::ptr_eq(&kept, &pool(&settings(change))));
        }
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| pool(&usual)).join().unwrap();
            assert!(!Arc::ptr_eq(&kept, &elsewhere));
        });
        assert!(Arc::ptr_eq(&kept, &pool(&usual)));
    }

    #[test]
    fn one_that_is_distrusted_is_replaced_for_all() {
        let usual = settings(|_| ());
        let old = pool(&usual);
        assert!(old.is_current());
        old.distrust();
        assert!(!old.is_current());
        let new = pool(&usual);
        assert!(!Arc::ptr_eq(&old, &new) && new.is_current());
        assert!(Arc::ptr_eq(&new, &pool(&usual)), "though the old one is still in use");
    }

    #[test]
    fn one_that_is_too_old_is_replaced() {
        let fleeting = settings(|config| config.connection_age_max = Duration::ZERO);
        let old = pool(&fleeting);
        assert!(!old.is_current() && !Arc::ptr_eq(&old, &pool(&fleeting)));
    }

    #[test]
    fn one_that_nobody_uses_is_forgotten() {
        let listed =
            || POOLS.with_borrow(|pools| pools.iter().filter(|pool| pool.strong_count() > 0).count());
        let usual = settings(|_| ());
        let kept = pool(&usual);
        assert_eq!(listed(), 1);
        drop(kept);
        assert_eq!(listed(), 0);
        let _other = pool(&settings(|config| config.connect_timeout *= 2));
        assert_eq!(POOLS.with_borrow(Vec::len), 1);
    }
}
