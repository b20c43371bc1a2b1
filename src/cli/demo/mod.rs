//! `tapecast demo`: the server, a simulated market on it, and a page to look at it.
//!
//! | file | contents |
//! |---|---|
//! | `book` | a simulated order book |
//! | `market` | a hundred books, published as messages |
//! | `figures` | measurements of the server, published once a second |
//!
//! The page is `src/web/demo.html`. It uses `/tapecast.js`, as any page would.

mod book;
mod figures;
mod market;

use super::serve::{STYLE, Show};
use crate::hub::{Access, Rule, SlowReader};
use crate::routes::{Document, Paged};
use crate::server::{Address, Server};
use crate::subprotocol::json::Json;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

const PAGE: Document = Document::html(include_str!("../../web/demo.html"));
const SCRIPT: Document = Document::javascript(include_str!("../../web/demo.js"));

/// The handlers, rules and threads that the demo adds to a server.
pub fn show(events_per_second: u32) -> Show {
    Show {
        routes: |router| {
            router
                .route("/", Paged { page: PAGE, handler: Json })
                .route("/style.css", STYLE)
                .route("/demo.js", SCRIPT)
        },
        rules: |limits| {
            let ours = |pattern: &str| Rule {
                // Only the market publishes prices.
                publish: Access::Server,
                slow_reader: SlowReader::Conflate,
                ..Rule::new(pattern, limits)
            };
            let topics =
                [market::QUOTES, market::TREND, market::TRADES, "book.*", figures::FIGURES];
            topics.map(ours).to_vec()
        },
        begin: Box::new(move |server| begin(server, events_per_second)),
    }
}

fn begin(server: &Server, events_per_second: u32) -> io::Result<Option<String>> {
    let ages = figures::Ages::default();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(format!("demo-{name}")).spawn(run)
    };
    let publisher = server.publisher();
    let seed = RandomState::new().hash_one(Instant::now());
    spawn("market", Box::new(move || market::run(&publisher, seed, events_per_second)))?;
    let (publisher, shards) = (server.publisher(), server.handle().shards());
    let seen = figures::Ages::clone(&ages);
    spawn("figures", Box::new(move || figures::publish(&publisher, &shards, &seen)))?;
    // Plain addresses first: a browser may not trust the certificate.
    let plain_first = [false, true].into_iter().flat_map(|is_secure| {
        let addresses = server.addresses().iter();
        addresses.filter(move |address| address.is_secure() == is_secure)
    });
    let found = plain_first.filter_map(|it| Some((reachable(it)?, it.is_secure()))).next();
    let Some((address, is_secure)) = found else { return Ok(None) };
    let (socket, page) = if is_secure { ("wss", "https") } else { ("ws", "http") };
    let url = format!("{socket}://{address}/");
    spawn("reader", Box::new(move || figures::read(&url, market::QUOTES, &ages)))?;
    Ok(Some(format!("{page}://{address}/")))
}

/// The address at which this machine reaches the server.
fn reachable(address: &Address) -> Option<SocketAddr> {
    let mut address = address.ip()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}
