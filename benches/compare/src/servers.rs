//! The servers. Each is started for one run on a port of its own, pinned to a core, and ended
//! by its process.

use crate::cell::{Cell, Layer};
use clap::ValueEnum;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that this program can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Tapecast, one shard.
    Tapecast,
    /// The floor: a bare ring that echoes, without limits or an API.
    BareRing,
    /// An echo on tokio-uring: a task and a buffer per connection.
    TokioUring,
    /// tokio-tungstenite with tuned buffers.
    Tungstenite,
    /// fastwebsockets.
    Fastwebsockets,
    /// npm `ws` on Node, if COMPARE_NODE_MODULES names its folder.
    Ws,
    /// Tapecast without the layer that a cell measures.
    TapecastPlain,
    /// nginx that terminates TLS in front of Tapecast, if it is installed. Its CPU is reported
    /// without that of the server behind it, which runs on the same core.
    Nginx,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Tapecast => "tapecast",
            Kind::BareRing => "bare-ring",
            Kind::TokioUring => "tokio-uring",
            Kind::Tungstenite => "tungstenite",
            Kind::Fastwebsockets => "fastwebsockets",
            Kind::Ws => "ws",
            Kind::TapecastPlain => "tapecast-plain",
            Kind::Nginx => "nginx",
        })
    }
}

impl Kind {
    /// Whether it serves what the cell needs.
    pub fn can(self, cell: &Cell) -> bool {
        match (self, cell.layer) {
            (Kind::TapecastPlain, layer) => return layer != Layer::None,
            (Kind::Nginx, layer) => return layer == Layer::Tls && cell.scenario != "broadcast",
            (kind, Layer::Tls | Layer::Deflate) => return kind == Kind::Tapecast,
            (_, Layer::None) => {}
        }
        cell.scenario != "broadcast"
            || matches!(self, Kind::Tapecast | Kind::Tungstenite | Kind::Ws)
    }
}

/// The kinds to measure: those of `only`, or all, if their programs are installed.
pub fn available(only: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| only.is_empty() || only.contains(kind);
    let has_node = std::env::var_os("COMPARE_NODE_MODULES").is_some();
    Kind::value_variants()
        .iter()
        .copied()
        .filter(wanted)
        .filter(|kind| *kind != Kind::Ws || has_node)
        .filter(|kind| *kind != Kind::Nginx || nginx().is_some())
        .collect()
}

/// A server that this program did not start.
#[derive(Clone, Debug)]
pub struct External {
    pub name: String,
    pub port: u16,
    pub pid: u32,
}

/// Reads NAME=PORT:PID.
pub fn external(text: &str) -> Result<External, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| {
        let (port, pid) = rest.split_once(':')?;
        Some(External { name: name.into(), port: port.parse().ok()?, pid: pid.parse().ok()? })
    });
    parts.ok_or_else(|| "expected NAME=PORT:PID".into())
}

/// A folder for certificates and configurations, removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A folder with a self-signed certificate on P-256 for localhost.
    ///
    /// # Errors
    /// It can't be written.
    pub fn new() -> Result<Folder, String> {
        let path = std::env::temp_dir().join(format!("tapecast-compare-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let folder = Folder(path);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        for (name, text) in
            [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())]
        {
            std::fs::write(folder.0.join(name), text).map_err(|error| error.to_string())?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server under measurement; ended when dropped.
pub struct Server {
    child: Option<Child>,
    /// The server that it is a proxy for.
    behind: Option<Box<Server>>,
    url: String,
    pid: u32,
    is_plain: bool,
}

impl Server {
    /// A server that this program did not start.
    pub fn of(external: &External) -> Server {
        let url = format!("ws://127.0.0.1:{}", external.port);
        Server { child: None, behind: None, url, pid: external.pid, is_plain: true }
    }

    /// Its URL without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process whose CPU is measured.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it lacks the layer that its cell measures.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let _ = child.kill();
        let _ = child.wait();
        drop(self.behind.take());
        // The kernel closes a ring's sockets a moment after its process.
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn nginx() -> Option<&'static str> {
    ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists())
}

/// Starts nginx in front of a plain server: one process, on the same core.
fn start_nginx(cell: &Cell, core: usize, folder: &Path) -> Result<Server, String> {
    let behind = start(Kind::TapecastPlain, cell, core, folder)?;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.map_err(|error| error.to_string())?.port();
    let to = behind.url().trim_start_matches("ws://");
    let path = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {path}/nginx.pid; error_log stderr crit;\n\
         worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl backlog=4096;\n\
         ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;\n\
         location / {{ proxy_pass http://{to}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
         proxy_set_header Host $host; proxy_read_timeout 1h; }} }} }}\n"
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    let child = Command::new("taskset")
        .args(["-c", &core.to_string(), nginx().ok_or("nginx is not installed")?, "-c"])
        .arg(&config)
        .arg("-p")
        .arg(folder)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("nginx: {error}"))?;
    let pid = child.id();
    let url = format!("wss://127.0.0.1:{port}");
    let behind = Some(Box::new(behind));
    let server = Server { child: Some(child), behind, url, pid, is_plain: false };
    for _ in 0..100 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("nginx did not start".into())
}

/// A program of this workspace, built beside this one.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: `cargo build --release --workspace` builds it", path.display()))
}

/// Starts a server on a free port, pinned to `core`, and waits for its first line.
pub fn start(kind: Kind, cell: &Cell, core: usize, folder: &Path) -> Result<Server, String> {
    if kind == Kind::Nginx {
        return start_nginx(cell, core, folder);
    }
    let has_tls = kind == Kind::Tapecast && cell.layer == Layer::Tls;
    let scheme = if has_tls { "wss" } else { "ws" };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]);
    // With huge pages resident memory would grow in steps of 2 MiB.
    command.env("MIMALLOC_ALLOW_THP", "0");
    match kind {
        Kind::Tapecast | Kind::TapecastPlain => {
            command.arg(program("tapecast")?);
            let listen = format!("{scheme}://127.0.0.1:0");
            command.args(["serve", "--listen", &listen, "--shards", "1"]);
            if has_tls {
                command.arg("--tls-cert").arg(folder.join("cert.pem"));
                command.arg("--tls-key").arg(folder.join("key.pem"));
            }
            if kind == Kind::Tapecast && cell.layer == Layer::Deflate {
                command.arg("--compression");
            }
        }
        Kind::Ws => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ws-peer.mjs");
            command.args(["node", script, "0"]);
        }
        kind => {
            command.arg(program("tapecast-peer")?);
            command.args([&kind.to_string(), "--port", "0"]);
        }
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{kind}: {error}"))?;
    let stdout = child.stdout.take().expect("piped");
    let pid = child.id();
    let is_plain = kind == Kind::TapecastPlain;
    let mut server = Server { child: Some(child), behind: None, url: String::new(), pid, is_plain };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    let digits = line.split("127.0.0.1:").nth(1).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let port: u16 = digits[..end].parse().map_err(|_| format!("{kind} did not start: {line:?}"))?;
    server.url = format!("{scheme}://127.0.0.1:{port}");
    Ok(server)
}
