//! An nginx of this test's own: what stands in front of a server, with TLS, limits, redirects and pages of HTML.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::process::{Process, find, free_port};

/// A running nginx, ended when dropped.
pub struct Nginx {
    folder: TempDir,
    program: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Nginx {
    /// Starts nginx, or prints `skipped: nginx not found` and answers `None`. With `CI=true` it must be there.
    ///
    /// `http` is what stands within `http { … }`, one `server` at least; in it `PORT` is the port it is to listen on and
    /// `FOLDER` the folder with the `files`, which are pairs of name and text.
    ///
    /// ```text
    /// Nginx::start(&[], "server { listen 127.0.0.1:PORT; location / { return 503; } }")
    /// ```
    pub fn start(files: &[(&str, &str)], http: &str) -> Option<Self> {
        let program = find("nginx")?;
        // Another process may take the port between our look and nginx's: then it exits, and another is tried.
        for _ in 0..5 {
            let folder = TempDir::new().expect("a temporary folder can be made");
            let mut nginx = Self { folder, program: program.clone(), port: free_port(), process: None };
            for (name, text) in files {
                nginx.write(name, text);
            }
            nginx.configure(http);
            if nginx.launch() {
                return Some(nginx);
            }
            println!("{}", nginx.log());
        }
        panic!("nginx did not start in five attempts");
    }

    /// Its root for plain HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its root where it listens with `ssl`.
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder; [`Nginx::restart`] has it read.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file can be written");
    }

    /// Gives it another configuration; [`Nginx::restart`] has it read.
    pub fn configure(&self, http: &str) {
        let config = CONFIG.replace("HTTP", http).replace("PORT", &self.port.to_string());
        self.write("nginx.conf", &config.replace("FOLDER", &self.folder.path().display().to_string()));
    }

    /// Ends it, so that its port refuses connections.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port; ends it first if it is running.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "nginx starts again: {}", self.log());
    }

    /// What nginx said so far.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("log") + &read("error.log")
    }

    fn launch(&mut self) -> bool {
        let folder = self.folder.path();
        let args = ["-c", "nginx.conf", "-p"].map(str::to_owned).into_iter();
        let args: Vec<String> = args.chain([folder.display().to_string()]).collect();
        self.process = Process::serve(&self.program, &args, folder, self.port);
        self.process.is_some()
    }
}

const CONFIG: &str = "
daemon off;
master_process off;
pid FOLDER/pid;
error_log FOLDER/error.log;
events {}
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi;
  scgi_temp_path FOLDER/scgi;
  HTTP
}
";
