//! The values of a profile: each is read from text, and written as that text.

use jiff::Timestamp;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tapecast::base::Random;
use tapecast::client::{self, Mode};
use tapecast::protocol::handshake::check_header;

/// A whole number within bounds.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.replace('_', "").parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?}: expected a whole number from {least} to {most}")),
    }
}

/// Bytes: a number, or one of KiB or MiB.
pub fn bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix("KiB") {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix("MiB").map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    match digits.trim().replace('_', "").parse::<usize>() {
        Ok(number) if number <= SIZE_MAX / unit => Ok(number * unit),
        _ => Err(format!("{text:?}: expected bytes from 0 to 64MiB, like 64 or 16KiB")),
    }
}

/// Bytes of the largest message.
pub const SIZE_MAX: usize = 64 << 20;

/// The last second that has a date of four digits.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// A time in seconds since 1970.
pub fn since_1970(text: &str) -> Result<SystemTime, String> {
    let after = duration(text)?;
    let when = SystemTime::UNIX_EPOCH.checked_add(after).filter(|_| after <= LAST_SECOND);
    when.ok_or_else(|| format!("{text:?}: expected seconds since 1970, before the year 10000"))
}

/// A time as RFC 3339 has it; UTC, if there is no offset.
pub fn rfc3339(text: &str) -> Result<SystemTime, String> {
    let at: Result<Timestamp, _> = text.parse().or_else(|_| format!("{text}Z").parse());
    let expected = "expected a time like 2026-11-21T12:00:00Z or 2026-11-21T13:00:00+01:00";
    let after = at.ok().and_then(|at| Duration::try_from(at.as_duration()).ok());
    let when = after.and_then(|after| SystemTime::UNIX_EPOCH.checked_add(after));
    when.ok_or_else(|| format!("{text:?}: {expected}"))
}

/// A duration: `5s`, `100ms`, `1m 30s`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("{text:?}: expected a duration, like 5s or 100ms"));
    }
    humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}, like 5s or 100ms"))
}

/// As [`duration`] reads it.
pub fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// How fast messages are planned: steps, each at so many a second for so long; the
/// last goes on for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    pub steps: Vec<Step>,
    /// A second and connection, instead of a second.
    pub per_connection: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub per_second: f64,
    pub duration: Option<Duration>,
}

impl Rate {
    /// Always the same.
    pub fn constant(per_second: f64) -> Rate {
        Rate { steps: vec![Step { per_second, duration: None }], per_connection: false }
    }

    /// In total over `connections`.
    pub fn total(&self, connections: u32) -> Vec<Step> {
        let factor = if self.per_connection { f64::from(connections) } else { 1.0 };
        let scaled = |step: &Step| Step { per_second: step.per_second * factor, ..*step };
        self.steps.iter().map(scaled).collect()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let expected = || {
            format!(
                "{text:?}: expected messages a second, like 1000, 5/connection, or steps like \
                 1000@10s,2000@10s,5000"
            )
        };
        let (rates, per_connection) = match text.trim().strip_suffix("/connection") {
            Some(rates) => (rates, true),
            None => (text, false),
        };
        let mut steps = Vec::new();
        for step in rates.split(',') {
            let (number, lasting) = match step.split_once('@') {
                Some((number, lasting)) => (number, Some(duration(lasting.trim())?)),
                None => (step, None),
            };
            let per_second: f64 = number.trim().replace('_', "").parse().map_err(|_| expected())?;
            if !(0.001..=1e9).contains(&per_second) {
                return Err(format!("{text:?}: a rate is from 0.001 to 1000000000 a second"));
            }
            steps.push(Step { per_second, duration: lasting });
        }
        let (_, before) = steps.split_last().ok_or_else(expected)?;
        if before.iter().any(|step| step.duration.is_none_or(|lasting| lasting.is_zero())) {
            return Err(format!(
                "{text:?}: every step but the last needs a duration, like 1000@10s"
            ));
        }
        Ok(Rate { steps, per_connection })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(formatter, "{comma}{}", step.per_second)?;
            if let Some(lasting) = step.duration {
                write!(formatter, "@{}", show(lasting).replace(' ', ""))?;
            }
        }
        formatter.write_str(if self.per_connection { "/connection" } else { "" })
    }
}

/// How large messages are.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    Fixed(usize),
    /// Each size from the first to the second is as likely.
    Uniform(usize, usize),
    /// Many small ones and few large ones, with this mean, cut at ten times it.
    Exponential(usize),
    /// Sizes with their weights.
    Weighted(Vec<(usize, f64)>),
}

impl Sizes {
    /// The smallest and the largest there can be.
    pub fn bounds(&self) -> (usize, usize) {
        match self {
            Sizes::Fixed(size) => (*size, *size),
            Sizes::Uniform(least, most) => (*least, *most),
            Sizes::Exponential(mean) => (0, mean * 10),
            Sizes::Weighted(sizes) => {
                let all = sizes.iter().map(|(size, _)| *size);
                (all.clone().min().unwrap_or(0), all.max().unwrap_or(0))
            }
        }
    }

    /// The size of message `number`: the same whenever it is asked for, so that a
    /// reply can be checked by its number alone.
    #[inline]
    pub fn of(&self, number: u64) -> usize {
        if let Sizes::Fixed(size) = self {
            return *size;
        }
        let mut random = Random::new(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let uniform = unit(&mut random);
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform(least, most) => least + (uniform * (most - least + 1) as f64) as usize,
            Sizes::Exponential(mean) => {
                ((-(1.0 - uniform).ln() * *mean as f64) as usize).min(mean * 10)
            }
            Sizes::Weighted(sizes) => {
                let mut rest = uniform * sizes.iter().map(|(_, weight)| weight).sum::<f64>();
                for (size, weight) in sizes {
                    rest -= weight;
                    if rest < 0.0 {
                        return *size;
                    }
                }
                sizes.last().map_or(0, |(size, _)| *size)
            }
        }
    }
}

/// Uniform in [0, 1).
pub fn unit(random: &mut Random) -> f64 {
    // The first numbers of neighbouring seeds are alike.
    random.number();
    (random.number() >> 11) as f64 / (1u64 << 53) as f64
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let within = |size: usize| match size <= SIZE_MAX {
            true => Ok(size),
            false => Err(format!("{text:?}: messages have at most 64MiB")),
        };
        if let Some(mean) = text.strip_prefix("exponential ") {
            let mean = bytes(mean)?;
            within(mean * 10)?;
            return Ok(Sizes::Exponential(mean));
        }
        if text.contains(':') {
            let mut sizes = Vec::new();
            for part in text.split(',') {
                let (size, weight) = part.split_once(':').ok_or_else(|| {
                    format!("{text:?}: expected sizes with weights, like 64:90,4KiB:10")
                })?;
                match weight.trim().parse::<f64>() {
                    Ok(weight) if weight > 0.0 && weight.is_finite() => {
                        sizes.push((within(bytes(size)?)?, weight));
                    }
                    _ => return Err(format!("{text:?}: {weight:?} is not a weight above 0")),
                }
            }
            return Ok(Sizes::Weighted(sizes));
        }
        if let Some((least, most)) = text.split_once('-') {
            let (least, most) = (bytes(least)?, within(bytes(most)?)?);
            return match least <= most {
                true => Ok(Sizes::Uniform(least, most)),
                false => Err(format!("{text:?}: the first size is above the second")),
            };
        }
        match bytes(text) {
            Ok(size) => Ok(Sizes::Fixed(size)),
            Err(_) => Err(format!(
                "{text:?}: expected bytes like 64 or 16KiB, 20-1000, exponential 200, or \
                 64:90,4KiB:10"
            )),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(size) => size.fmt(formatter),
            Sizes::Uniform(least, most) => write!(formatter, "{least}-{most}"),
            Sizes::Exponential(mean) => write!(formatter, "exponential {mean}"),
            Sizes::Weighted(sizes) => {
                let parts: Vec<String> =
                    sizes.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                formatter.write_str(&parts.join(","))
            }
        }
    }
}

/// What messages are filled with.
#[derive(Clone, Debug)]
pub enum Content {
    /// The same bytes after the number in front.
    Pattern,
    /// Other bytes in every message.
    Random,
    /// The lines of a file in turn.
    Lines { path: String, lines: Arc<[Box<[u8]>]> },
}

impl FromStr for Content {
    type Err = String;

    fn from_str(text: &str) -> Result<Content, String> {
        match text {
            "pattern" => Ok(Content::Pattern),
            "random" => Ok(Content::Random),
            _ => {
                let path = text.strip_prefix('@').ok_or_else(|| {
                    format!("{text:?}: expected pattern, random, or @FILE for its lines")
                })?;
                let read = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                // Some editors begin a file with a byte order mark.
                let text = read.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&read);
                let lines: Arc<[Box<[u8]>]> = text
                    .split(|&byte| byte == b'\n')
                    .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                    .filter(|line| !line.is_empty())
                    .map(Box::from)
                    .collect();
                match lines.is_empty() {
                    true => Err(format!("{path}: there are no lines in it")),
                    false => Ok(Content::Lines { path: path.to_owned(), lines }),
                }
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Pattern => formatter.write_str("pattern"),
            Content::Random => formatter.write_str("random"),
            Content::Lines { path, .. } => write!(formatter, "@{path}"),
        }
    }
}

/// Where to connect.
#[derive(Clone, Debug)]
pub struct Url {
    url: client::Url,
    address: Option<SocketAddr>,
}

/// How long an address of several is given to accept.
const CONNECT_MAX: Duration = Duration::from_secs(2);

impl Url {
    /// Looks for the address that is used: of several, the first that accepts.
    ///
    /// # Errors
    /// The name has none.
    pub fn resolve(&mut self) -> Result<(), String> {
        let addresses =
            self.url.resolve().map_err(|error| format!("{}: {error}", self.url.name()))?;
        let accepts = |address: &&SocketAddr| {
            addresses.len() == 1 || TcpStream::connect_timeout(address, CONNECT_MAX).is_ok()
        };
        // Where none does, the run says why.
        self.address = Some(*addresses.iter().find(accepts).unwrap_or(&addresses[0]));
        Ok(())
    }

    /// The address that was found, before anything is measured.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a run begins with it")
    }
}

impl Deref for Url {
    type Target = client::Url;

    fn deref(&self) -> &client::Url {
        &self.url
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        Ok(Url { url: text.parse()?, address: None })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

/// How a reader of topics wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub mode: Mode,
    pub max_rate: Option<u32>,
}

impl Delivery {
    /// Every message, at once.
    pub const ALL: Delivery = Delivery { mode: Mode::All, max_rate: None };

    /// That of the reader with this number.
    pub fn of(deliveries: &[Delivery], number: u32) -> Delivery {
        let place = (number as usize).checked_rem(deliveries.len());
        place.map_or(Delivery::ALL, |place| deliveries[place])
    }
}

impl FromStr for Delivery {
    type Err = String;

    fn from_str(text: &str) -> Result<Delivery, String> {
        let (mode, max_rate) = match text.split_once('@') {
            Some((mode, rate)) => (mode, Some(number(rate, 1, 1_000)? as u32)),
            None => (text, None),
        };
        let mode = match mode {
            "all" => Mode::All,
            "latest" => Mode::Latest,
            _ => return Err(format!("{text:?}: expected all or latest, or one like latest@10")),
        };
        Ok(Delivery { mode, max_rate })
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.mode == Mode::All { "all" } else { "latest" })?;
        self.max_rate.map_or(Ok(()), |rate| write!(formatter, "@{rate}"))
    }
}

/// Addresses to connect from.
#[derive(Clone, Debug)]
pub struct Sources {
    text: String,
    pub addresses: Vec<IpAddr>,
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Sources, String> {
        let address = |part: &str| {
            part.trim().parse::<IpAddr>().map_err(|_| {
                format!("{part:?}: expected an address, or two like 127.0.0.2-127.0.0.20")
            })
        };
        let addresses = match text.split_once('-') {
            None => vec![address(text)?],
            Some((first, last)) => match (address(first)?, address(last)?) {
                (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                    let range = u32::from(first)..=u32::from(last);
                    if range.clone().count() > 65_536 {
                        return Err(format!("{text:?}: more than 65536 addresses"));
                    }
                    range.map(|number| IpAddr::V4(number.into())).collect()
                }
                _ => {
                    return Err(format!("{text:?}: a range is of IPv4 addresses, the lower first"));
                }
            },
        };
        Ok(Sources { text: text.to_owned(), addresses })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// `Name: value`.
pub fn header(text: &str) -> Result<(String, String), String> {
    let expected = || format!("{text:?}: expected a header, like 'Origin: https://example.com'");
    let (name, value) = text.split_once(':').ok_or_else(expected)?;
    let name = http::HeaderName::from_str(name.trim()).map_err(|_| expected())?;
    let value = http::HeaderValue::from_str(value.trim()).map_err(|_| expected())?;
    let value = value.to_str().map_err(|_| expected())?;
    check_header(name.as_str(), value).map_err(|error| match name.as_str() {
        "sec-websocket-protocol" => format!("{error}: use subprotocol"),
        "sec-websocket-extensions" => format!("{error}: use compression"),
        _ => error,
    })?;
    Ok((name.as_str().to_owned(), value.to_owned()))
}

/// A share: `10%` or 0.1.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, divisor) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number / divisor)) => Ok(number / divisor),
        _ => Err(format!("{text:?}: expected a share, like 10%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let constant: Rate = "1_000".parse().unwrap();
        assert_eq!(constant, Rate::constant(1_000.0));
        let steps: Rate = "1000@10s,2000@1m 30s,0.5/connection".parse().unwrap();
        assert_eq!(steps.to_string(), "1000@10s,2000@1m30s,0.5/connection");
        assert_eq!(steps.to_string().parse::<Rate>(), Ok(steps.clone()));
        assert_eq!(steps.total(10)[2].per_second, 5.0);
        for wrong in ["", "0", "-1", "nan", "1e10", "1000,2000", "5@", "5@0s,6", "5/second"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_keep_their_distribution() {
        let mean = |text: &str| {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!(sizes.to_string().parse(), Ok(sizes.clone()));
            let (least, most) = sizes.bounds();
            let all: Vec<usize> = (0..100_000).map(|number| sizes.of(number)).collect();
            assert!(all.iter().all(|size| (least..=most).contains(size)), "{text}");
            assert!(all.iter().enumerate().all(|(number, size)| sizes.of(number as u64) == *size));
            all.iter().sum::<usize>() as f64 / all.len() as f64
        };
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.02;
        assert!(near(mean("64"), 64.0));
        assert!(near(mean("20-1000"), 510.0));
        assert!(near(mean("exponential 200"), 200.0));
        assert!(near(mean("64:90,4KiB:10"), 467.2));
        for wrong in ["", "-5", "10-5", "65MiB", "64:0", "64:a", "7MiB-65MiB", "exponential 9MiB"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn deliveries() {
        let delivery: Delivery = "latest@10".parse().unwrap();
        assert_eq!(delivery, Delivery { mode: Mode::Latest, max_rate: Some(10) });
        assert_eq!(delivery.to_string(), "latest@10");
        assert_eq!(Delivery::of(&[delivery, Delivery::ALL], 3), Delivery::ALL);
        assert_eq!(Delivery::of(&[], 3), Delivery::ALL);
        for wrong in ["", "most", "all@0", "all@", "latest@1001"] {
            assert!(wrong.parse::<Delivery>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_sources_and_headers() {
        let url: Url = "ws://127.0.0.1:9001/echo?a=b".parse().unwrap();
        assert_eq!((url.host(), url.target()), ("127.0.0.1:9001", "/echo?a=b"));
        let mut url: Url = "ws://[::1]".parse().unwrap();
        url.resolve().unwrap();
        assert_eq!((url.address(), url.target()), ("[::1]:80".parse().unwrap(), "/"));
        for wrong in ["http://a", "127.0.0.1:9001", "wss://", "ws://", "ws://a:b@127.0.0.1"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
        let sources: Sources = "127.0.0.2-127.0.0.20".parse().unwrap();
        assert_eq!(sources.addresses.len(), 19);
        assert!("127.0.0.3-127.0.0.2".parse::<Sources>().is_err());
        assert_eq!(header("X-Name:  value "), Ok(("x-name".into(), "value".into())));
        assert!(header("X-Name: a\r\nb").is_err() && header("no colon").is_err());
        assert!(header("Host: b").is_ok() && header("Upgrade: h2c").is_err());
        assert!(header("Sec-WebSocket-Protocol: a").unwrap_err().ends_with(": use subprotocol"));
        assert_eq!((share("10%"), share("1")), (Ok(0.1), Ok(1.0)));
        assert!(share("101%").is_err());
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert!(duration("five").is_err() && duration("-1").is_err());
        let noon = rfc3339("2026-11-21T12:00:00Z").unwrap();
        for same in ["2026-11-21T13:00:00+01:00", "2026-11-21 04:00:00-08:00", "2026-11-21T12:00"] {
            assert_eq!(rfc3339(same), Ok(noon), "{same}");
        }
        assert!(rfc3339("2026-11-21T12:00:00+99:00").is_err() && rfc3339("noon").is_err());
    }
}
