//! VictoriaMetrics, which takes the write path of InfluxDB 2.x, and vmauth, which asks for a token before it.

use tempfile::TempDir;

use super::http::{percent_encoded, request};
use super::process::{Process, find, free_port};

/// A running VictoriaMetrics, ended when dropped.
pub struct Victoria {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Victoria {
    /// Starts it, or prints `skipped: victoria-metrics not found` and answers `None`. With `CI=true` it must be there.
    pub fn start() -> Option<Self> {
        let program = find("victoria-metrics")?;
        for _ in 0..5 {
            let folder = TempDir::new().expect("a temporary folder can be made");
            let port = free_port();
            let args = [
                format!("-storageDataPath={}", folder.path().join("data").display()),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-retentionPeriod=100y".to_owned(),
                "-search.latencyOffset=0s".to_owned(),
                "-search.disableCache".to_owned(),
            ];
            if let Some(process) = Process::serve(&program, &args, folder.path(), port) {
                return Some(Self { port, _process: process, _folder: folder });
            }
        }
        panic!("victoria-metrics did not start in five attempts");
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every value of a metric (`MEASUREMENT_FIELD`) with its time in milliseconds, of all series together. Those of the last
    /// seconds may be missing: give points older stamps.
    pub fn values(&self, metric: &str) -> Vec<(i64, f64)> {
        // What was written is visible after this.
        request(self.port, "GET", "/internal/force_flush", "", b"").expect("VictoriaMetrics answers");
        let target = format!("/api/v1/export?match[]={}", percent_encoded(metric));
        let answer = request(self.port, "GET", &target, "", b"").expect("VictoriaMetrics answers");
        let text = String::from_utf8(answer.body).expect("it answers with text");
        let mut values = Vec::new();
        for line in text.lines() {
            let series: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            let numbers = |name: &str| series[name].as_array().expect("an array").clone();
            values.extend(
                numbers("timestamps")
                    .iter()
                    .zip(&numbers("values"))
                    .map(|(at, value)| (at.as_i64().expect("a time"), value.as_f64().expect("a number"))),
            );
        }
        values
    }
}

/// A running vmauth, ended when dropped.
pub struct Vmauth {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Vmauth {
    /// Starts a proxy that lets requests with this token through to `backend`, a root URL. It takes `Token` and `Bearer`
    /// alike. Skips as [`Victoria::start`] does.
    pub fn start(token: &str, backend: &str) -> Option<Self> {
        let program = find("vmauth")?;
        for _ in 0..5 {
            let folder = TempDir::new().expect("a temporary folder can be made");
            let config = folder.path().join("auth.yml");
            std::fs::write(
                &config,
                format!(
                    "users:\n- bearer_token: \"{token}\"\n  url_map:\n  - src_paths: [\"/api/v2/write.*\", \
                     \"/write.*\", \"/health\", \"/ping\"]\n    url_prefix: \"{backend}/\"\n"
                ),
            )
            .expect("a file can be written");
            let port = free_port();
            let args =
                [format!("-auth.config={}", config.display()), format!("-httpListenAddr=127.0.0.1:{port}")];
            if let Some(process) = Process::serve(&program, &args, folder.path(), port) {
                return Some(Self { port, _process: process, _folder: folder });
            }
        }
        panic!("vmauth did not start in five attempts");
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
