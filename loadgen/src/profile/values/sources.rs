//! The addresses to connect from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_the_lower_address_first() {
        let sources: Sources = "127.0.0.2-127.0.0.20".parse().unwrap();
        assert_eq!(sources.addresses.len(), 19);
        for wrong in ["127.0.0.3-127.0.0.2", "::1-::2", "10.0.0.0-10.255.0.0", "here"] {
            assert!(wrong.parse::<Sources>().is_err(), "{wrong}");
        }
    }
}
