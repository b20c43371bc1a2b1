//! Runs the server: sockets, logs, the supervisor, signals, and the parts that a command adds.

use super::logs::Logs;
use super::output::{EXIT_CONFIG, print};
use super::reload::Running;
use super::settings::{Settings, Shards, rules_with_defaults};
use super::supervisor::{self, notify};
use crate::app::Router;
use crate::base::Limits;
use crate::control::{self, Admin, Control, Order};
use crate::hub::Rule;
use crate::routes::{self, Document, Paged};
use crate::server::{Address, Builder, Server, ServerError, unlistenable};
use crate::settings::Problem;
use crate::subprotocol::json::Json;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

/// The routes, rules and threads that a command adds to the server.
pub struct Show {
    /// Adds handlers to the built-in ones.
    pub routes: fn(Router) -> Router,
    /// Rules behind the configured ones.
    pub rules: fn(&Limits) -> Vec<Rule>,
    /// Starts the command's threads.
    pub begin: Begin,
}

/// Called once the server listens; returns the address of its page, if it has one.
pub type Begin = Box<dyn FnOnce(&Server) -> io::Result<Option<String>>>;

/// Topics in JSON on `/`, and a page to try them.
pub fn plain() -> Show {
    Show {
        routes: |router| {
            router
                .route("/", Paged { page: CONSOLE, handler: Json })
                .route("/console.js", CONSOLE_SCRIPT)
                .route("/style.css", STYLE)
        },
        rules: |_| Vec::new(),
        begin: Box::new(|_| Ok(None)),
    }
}

const CONSOLE: Document = Document::html(include_str!("../web/console.html"));
const CONSOLE_SCRIPT: Document = Document::javascript(include_str!("../web/console.js"));
/// The style of the pages.
pub const STYLE: Document = Document::css(include_str!("../web/style.css"));

/// Runs until the server has stopped. `again` reads the configuration again, for a reload.
pub fn run(
    settings: Settings,
    again: impl Fn() -> Result<Settings, Vec<Problem>> + Send + 'static,
    show: Show,
    give_back: fn(),
) -> ExitCode {
    let mut logs = Logs::start(&settings);
    let code = match serve(settings, &logs, again, show, give_back) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs.say(&format!("tapecast: {error}"));
            match error {
                ServerError::Ring(_)
                | ServerError::Certificate(_)
                | ServerError::Limits(_)
                | ServerError::Rule(_)
                | ServerError::Shards(..) => ExitCode::from(EXIT_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    };
    logs.end();
    code
}

fn serve(
    settings: Settings,
    logs: &Logs,
    again: impl Fn() -> Result<Settings, Vec<Problem>> + Send + 'static,
    show: Show,
    give_back: fn(),
) -> Result<(), ServerError> {
    let builder = Server::builder().limits(settings.limits.clone());
    let mut rules = settings.rules.clone();
    rules.extend((show.rules)(&settings.limits));
    let rules = rules_with_defaults(&rules, &settings.limits);
    let builder = sockets(builder.rules(rules), &settings)?;
    let acceptor = settings.acceptor(None);
    let acceptor = acceptor.map_err(|problem| ServerError::Certificate(problem.to_string()))?;
    let builder = match &acceptor {
        Some(acceptor) => builder.tls(acceptor.clone()),
        None => builder,
    };
    let builder = match settings.shards {
        Shards::PerCore => builder,
        Shards::Count(count) => builder.shards(count),
    };
    let admin = admin(&settings)?;
    if let Some(admin) = &admin
        && let Ok(address) = admin.listener.local_addr()
    {
        tracing::info!(%address, "administration server");
    }
    let wanted = settings.routes.clone();
    let server = builder.start(move |_shard| (show.routes)(routes::builtin(&wanted)))?;
    let handle = server.handle();
    let running = Running::new(settings, acceptor, logs.filter.clone(), server.handle());
    let control = Control {
        shards: handle.shards(),
        admin,
        alive_every: supervisor::watchdog().map(|within| within / 2),
        alive: Box::new(|| notify("WATCHDOG=1")),
        give_back,
        lines_dropped: Arc::new(logs.dropped()),
        obey: Box::new(move |order| match order {
            Order::Drain => {
                handle.drain();
                tracing::info!("draining");
                notify("STOPPING=1");
            }
            Order::Stop => handle.stop(),
            Order::Reload => match again() {
                Ok(settings) => running.reload(settings),
                Err(problems) => {
                    for problem in problems {
                        tracing::error!("not reloaded: {problem}");
                    }
                }
            },
        }),
    };
    control::start(control).map_err(ServerError::Thread)?;
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    let shards = server.shards();
    let noun = if shards == 1 { "shard" } else { "shards" };
    let line = format!("listening on {} ({shards} {noun})", addresses.join(", "));
    let page = (show.begin)(&server).map_err(ServerError::Thread)?;
    let page = page.map_or(String::new(), |page| format!("open {page}\n"));
    if print(&format!("{line}\n{page}")).is_err() {
        tracing::warn!("the standard output is closed: {line}");
    }
    notify(&format!("READY=1\nSTATUS={line}"));
    server.join()
}

/// The administration server, bound, with its token.
fn admin(settings: &Settings) -> Result<Option<Admin>, ServerError> {
    let Some(address) = settings.admin else { return Ok(None) };
    let failed = |why: String| ServerError::Admin(why);
    let token = match &settings.admin_token_file {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| failed(format!("{}: {error}", path.display())))?;
            let first = text.lines().next().unwrap_or_default();
            // Some editors put a byte order mark in front.
            let token = first.trim_start_matches('\u{feff}').trim().to_owned();
            if token.is_empty() {
                return Err(failed(format!("{}: its first line is empty", path.display())));
            }
            Some(token)
        }
    };
    let listener = TcpListener::bind(address)
        .map_err(|error| failed(unlistenable(&address, &Address::Ip(address), &error)))?;
    Ok(Some(Admin { listener, token }))
}

/// The sockets that a supervisor passed on, or else the configured addresses. A passed socket
/// uses TLS if its port is that of a configured wss:// address.
fn sockets(mut builder: Builder, settings: &Settings) -> Result<Builder, ServerError> {
    let mut passed = listenfd::ListenFd::from_env();
    for index in 0..passed.len() {
        builder = match passed.take_tcp_listener(index) {
            Ok(Some(listener)) => {
                let port = listener.local_addr().map_err(ServerError::Thread)?.port();
                let is_its = |address: &Address| address.ip().is_some_and(|it| it.port() == port);
                if settings.listen.iter().any(|it| it.is_secure() && is_its(it)) {
                    builder.secure_listener(listener)?
                } else {
                    builder.listener(listener)?
                }
            }
            _ => match passed.take_unix_listener(index).map_err(ServerError::Thread)? {
                Some(listener) => builder.unix_listener(listener)?,
                None => builder,
            },
        };
    }
    if passed.len() > 0 {
        return Ok(builder);
    }
    for address in &settings.listen {
        builder = builder.listen(&address.to_string())?;
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Conn, Handler, Request, Upgrade};
    use crate::protocol::Message;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::num::NonZeroU16;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

    /// Blocks on every message, which no handler may.
    struct Sleeper;

    impl Handler for Sleeper {
        type Session = ();

        fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
            Upgrade::accept(())
        }

        fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {
            std::thread::sleep(Duration::from_millis(2_500));
        }
    }

    /// Log lines, for a test to look at.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn wait_for(&self, words: &str) {
            let start = Instant::now();
            loop {
                let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
                if text.lines().any(|line| line.contains(words)) {
                    return;
                }
                assert!(start.elapsed() < Duration::from_secs(15), "no {words:?} in {text}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handler_that_blocks_is_named_while_it_does() {
        let lines = Lines::default();
        let writer = lines.clone();
        // For the whole process: the line comes from the control thread.
        tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).init();
        let builder = Server::builder().listen("127.0.0.1:0").unwrap().shards(NonZeroU16::MIN);
        let server = builder.start(|_shard| Sleeper).unwrap();
        let control = Control {
            shards: server.handle().shards(),
            admin: None,
            alive_every: None,
            alive: Box::new(|| {}),
            give_back: || {},
            lines_dropped: Arc::new(|| 0),
            obey: Box::new(|_| {}),
        };
        control::start(control).unwrap();
        let address = server.addresses()[0].ip().expect("no Unix socket");
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(HEAD.as_bytes()).unwrap();
        assert_ne!(client.read(&mut [0; 512]).unwrap(), 0);
        client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'o', b'h']).unwrap();
        lines.wait_for("a shard is stuck in one turn: check for blocking handlers shard=0");
        lines.wait_for("the shard has recovered shard=0");
    }

    #[test]
    fn a_reload_does_not_wait_for_a_blocked_shard() {
        let builder = Server::builder().listen("127.0.0.1:0").unwrap().shards(NonZeroU16::MIN);
        let server = builder.start(|_shard| Sleeper).unwrap();
        let mut client = TcpStream::connect(server.addresses()[0].ip().unwrap()).unwrap();
        client.write_all(HEAD.as_bytes()).unwrap();
        assert_ne!(client.read(&mut [0; 512]).unwrap(), 0);
        client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'o', b'h']).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // Its inbox is full.
        let publisher = server.publisher();
        let mut published = 0;
        while publisher.publish("t", "x").is_ok() {
            published += 1;
            assert!(published < 1_000_000, "the inbox never fills");
        }
        let started = Instant::now();
        for head_bytes_max in [100, 200, 300] {
            server.handle().reload(&Limits { head_bytes_max, ..Limits::default() }).unwrap();
        }
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        // Once the shard continues, the newest limits hold.
        std::thread::sleep(Duration::from_secs(3));
        let status_of = |bytes: usize| {
            let mut client = TcpStream::connect(server.addresses()[0].ip().unwrap()).unwrap();
            let fill = "f".repeat(bytes - "GET / HTTP/1.1\r\nX: \r\n\r\n".len());
            client.write_all(format!("GET / HTTP/1.1\r\nX: {fill}\r\n\r\n").as_bytes()).unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[9..]).into_owned()
        };
        assert_eq!((status_of(301), status_of(300) == "431"), ("431".to_owned(), false));
    }
}
