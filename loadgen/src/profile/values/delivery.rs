//! The deliveries that readers of topics ask for.

use std::fmt;
use std::str::FromStr;
use tapecast::client::Mode;
use tapecast::settings::within;

/// The delivery that a reader of topics asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub mode: Mode,
    pub max_rate: Option<u32>,
}

impl Delivery {
    /// Every message, at once.
    pub const ALL: Delivery = Delivery { mode: Mode::All, max_rate: None };

    /// The delivery of the reader with this number: they take turns.
    pub fn of(deliveries: &[Delivery], number: u32) -> Delivery {
        let place = (number as usize).checked_rem(deliveries.len());
        place.map_or(Delivery::ALL, |place| deliveries[place])
    }
}

impl FromStr for Delivery {
    type Err = String;

    fn from_str(text: &str) -> Result<Delivery, String> {
        let (mode, max_rate) = match text.split_once('@') {
            Some((mode, rate)) => (mode, Some(within(rate, 1..=1_000)? as u32)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_read_and_written() {
        let delivery: Delivery = "latest@10".parse().unwrap();
        assert_eq!(delivery, Delivery { mode: Mode::Latest, max_rate: Some(10) });
        assert_eq!(delivery.to_string(), "latest@10");
        assert_eq!(Delivery::of(&[delivery, Delivery::ALL], 3), Delivery::ALL);
        assert_eq!(Delivery::of(&[], 3), Delivery::ALL);
        for wrong in ["", "most", "all@0", "all@", "latest@1001"] {
            assert!(wrong.parse::<Delivery>().is_err(), "{wrong}");
        }
    }
}
