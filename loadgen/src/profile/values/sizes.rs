//! The sizes of messages.

use std::fmt;
use std::str::FromStr;
use tapecast::base::Random;
use tapecast::settings::{Unit, number};

/// The bytes of the largest message.
pub const SIZE_MAX: usize = 64 << 20;

/// The bytes of a message: a number, or one with a unit.
pub fn bytes(text: &str) -> Result<usize, String> {
    match number(text, Unit::Bytes) {
        Ok(bytes) if bytes <= SIZE_MAX as u64 => Ok(bytes as usize),
        _ => Err(format!("{text:?}: expected bytes from 0 to 64MiB, like 64 or 16KiB")),
    }
}

/// The sizes of messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    Fixed(usize),
    /// All sizes from the first to the second are equally likely.
    Uniform(usize, usize),
    /// Many small messages and few large ones, with this mean, cut off at ten times the mean.
    Exponential(usize),
    /// Sizes with their weights.
    Weighted(Vec<(usize, f64)>),
}

impl Sizes {
    /// The smallest and the largest size.
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

    /// The size of message `number`, which is always the same, so that a reply can be checked
    /// by its number alone.
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
fn unit(random: &mut Random) -> f64 {
    // The first numbers of neighbouring seeds are similar.
    random.number();
    (random.number() >> 11) as f64 / (1u64 << 53) as f64
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let within = |size: usize| {
            if size <= SIZE_MAX {
                Ok(size)
            } else {
                Err(format!("{text:?}: a message has at most 64MiB"))
            }
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
            if least > most {
                return Err(format!("{text:?}: the first size is above the second"));
            }
            return Ok(Sizes::Uniform(least, most));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
