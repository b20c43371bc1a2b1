//! The keys of the server that are neither limits nor of a topic rule. Each is defined here
//! and nowhere else.

use super::tls;
use super::values::{LogFormat, Settings, Shards};
use crate::base::Limits;
use crate::routes::OPTIONAL;
use crate::server::Address;
use crate::settings::Takes::{One, Several};
use crate::settings::{Key, all, choice, list, one, put, quoted, word};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The prefix of the keys that are limits.
pub const LIMITS: &str = "limits.";

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Every key.
pub const KEYS: &[Key<Settings>] = &[
    Key {
        name: "listen",
        takes: Several("ADDR"),
        text: "Address to listen on: [ws://]HOST:PORT, wss://HOST:PORT for TLS, or unix:PATH. \
               HOST is an IP address, or a name that stands for all its addresses; without HOST \
               the server listens on all addresses of the machine. Port 0 takes a free port.",
        set: |settings, values| put(&mut settings.listen, addresses(values)),
        get: |settings| list(&settings.listen),
    },
    Key {
        name: "routes",
        takes: Several("PATH"),
        text: "Optional route to serve: /echo, /ws or /broadcast. A single empty value serves \
               none of them. All other routes are always served.",
        set: |settings, values| put(&mut settings.routes, routes(values)),
        get: |settings| list(&settings.routes),
    },
    Key {
        name: "tls_cert",
        takes: Several("FILE"),
        text: "PEM file with a certificate for wss:// addresses and the chain to its authority. \
               Of several certificates, a client that names a host gets the first that is valid \
               for it.",
        set: |settings, values| put(&mut settings.tls.certificates, Ok(paths(values))),
        get: |settings| printed(&settings.tls.certificates),
    },
    Key {
        name: "tls_key",
        takes: Several("FILE"),
        text: "PEM file with the private key of a certificate, in the order of tls_cert.",
        set: |settings, values| put(&mut settings.tls.keys, Ok(paths(values))),
        get: |settings| printed(&settings.tls.keys),
    },
    Key {
        name: "tls_client_ca",
        takes: One("FILE"),
        text: "PEM file of the authorities that sign client certificates. If unset, clients are \
               not asked for certificates.",
        set: |settings, values| put(&mut settings.tls.client_authorities, path(values)),
        get: |settings| path_or_nothing(settings.tls.client_authorities.as_deref()),
    },
    Key {
        name: "tls_client_auth",
        takes: One("required|optional|none"),
        text: "Whether clients present a certificate that tls_client_ca signed: required, \
               optional or none. If unset, required with tls_client_ca and none without it.",
        set: |settings, values| {
            let chosen = choice(one(values)?, tls::CLIENT_AUTHS)?;
            put(&mut settings.tls.client_auth, Ok(Some(chosen)))
        },
        get: |settings| word(&settings.tls.client_auth(), tls::CLIENT_AUTHS),
    },
    Key {
        name: "shards",
        takes: One("N|per-core"),
        text: "Number of shards, each on a core of its own, or per-core for one on every core \
               that the process may use.",
        set: |settings, values| put(&mut settings.shards, shards(one(values)?)),
        get: |settings| match settings.shards {
            Shards::PerCore => quoted("per-core"),
            Shards::Count(count) => count.to_string(),
        },
    },
    Key {
        name: "admin",
        takes: One("HOST:PORT"),
        text: "Address of the administration server: the first, if HOST has several. If unset, \
               there is no administration server.",
        set: |settings, values| put(&mut settings.admin, admin(one(values)?)),
        get: |settings| quoted(&settings.admin.map_or(String::new(), |it| it.to_string())),
    },
    Key {
        name: "admin_token_file",
        takes: One("FILE"),
        text: "File whose first line is the token that every request to the administration \
               server carries. Required unless admin is a loopback address.",
        set: |settings, values| put(&mut settings.admin_token_file, path(values)),
        get: |settings| path_or_nothing(settings.admin_token_file.as_deref()),
    },
    Key {
        name: "log",
        takes: One("FILTER"),
        text: "Lines to log: error, warn, info, debug, trace, or a filter by module like \
               warn,tapecast::shard=debug.",
        set: |settings, values| put(&mut settings.log, filter(one(values)?)),
        get: |settings| quoted(&settings.log),
    },
    Key {
        name: "log_format",
        takes: One("text|json"),
        text: "Format of log lines: text or json.",
        set: |settings, values| put(&mut settings.log_format, choice(one(values)?, LOG_FORMATS)),
        get: |settings| word(&settings.log_format, LOG_FORMATS),
    },
];

/// Keys that a reload gives a running server, besides its reloadable limits.
const RELOADABLE: &[&str] = &["tls_cert", "tls_key", "tls_client_ca", "tls_client_auth", "log"];

/// Whether a reload gives a running server a new value of this key.
pub fn is_reloadable(key: &str) -> bool {
    let is_limit = |name| Limits::RELOADABLE.contains(&name);
    RELOADABLE.contains(&key) || key.strip_prefix(LIMITS).is_some_and(is_limit)
}

/// The names of all keys, limits included.
pub fn names() -> impl Iterator<Item = String> {
    let limits = Limits::NAMES.iter().map(|name| format!("{LIMITS}{name}"));
    KEYS.iter().map(|key| key.name.to_owned()).chain(limits)
}

fn addresses(values: &[String]) -> Result<Vec<Address>, String> {
    let mut addresses = Vec::new();
    for address in all(values, Address::resolve)?.into_iter().flatten() {
        // 127.0.0.1 beside localhost is no contradiction.
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn routes(values: &[String]) -> Result<Vec<String>, String> {
    if values == [""] {
        return Ok(Vec::new());
    }
    let known = OPTIONAL.map(|route| (route, route));
    all(values, |value| choice(value, &known).map(str::to_owned))
}

fn shards(value: &str) -> Result<Shards, String> {
    if value == "per-core" {
        return Ok(Shards::PerCore);
    }
    let count = value.parse().map(Shards::Count);
    count.map_err(|_| format!("{value:?}: expected a number from 1 to 65535, or per-core"))
}

fn admin(value: &str) -> Result<Option<SocketAddr>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let expected = || format!("{value:?}: expected HOST:PORT, like 127.0.0.1:9090");
    let port = value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.ok_or_else(expected)?;
    match Address::resolve(value)?.first() {
        Some(Address::Ip(address)) => Ok(Some(*address)),
        _ => Err(expected()),
    }
}

fn filter(value: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(error) => Err(format!("{value:?}: {error}")),
    }
}

/// One path, or nothing where the value is empty.
fn path(values: &[String]) -> Result<Option<PathBuf>, String> {
    one(values).map(|value| (!value.is_empty()).then(|| value.into()))
}

fn path_or_nothing(path: Option<&Path>) -> String {
    quoted(&path.map_or(String::new(), |path| path.display().to_string()))
}

fn paths(values: &[String]) -> Vec<PathBuf> {
    values.iter().filter(|value| !value.is_empty()).map(PathBuf::from).collect()
}

fn printed(paths: &[PathBuf]) -> String {
    list(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::either;

    #[test]
    fn reloadable_keys_exist() {
        let all: Vec<String> = names().collect();
        for name in RELOADABLE {
            assert!(all.iter().any(|known| known == name), "{name}");
        }
        assert_eq!(either(&OPTIONAL), "/echo, /ws or /broadcast");
        assert!(is_reloadable("limits.pong_ms") && !is_reloadable("limits.topics_max"));
        assert!(!is_reloadable("topics") && !is_reloadable("listen"));
    }
}
