//! Options of a subscription: `KEY=VALUE` pairs, the same on both routes.

use std::str::FromStr;
use tapecast::hub::{Delivery, Mode, Since, SlowReader};

/// Sets one option.
///
/// # Errors
/// The key is unknown, or the value is wrong, in words.
pub fn set(delivery: &mut Delivery, key: &str, value: &str) -> Result<(), String> {
    match key {
        "mode" => delivery.mode = mode(value)?,
        "rate" => delivery.max_rate = Some(number(key, value)?),
        "since" => delivery.since = Some(since(value)?),
        "snapshot" => delivery.snapshot = true,
        "window" => delivery.window = Some(number(key, value)?),
        "slow" => delivery.slow_reader = Some(slow_reader(value)?),
        _ => {
            return Err(format!("{key:?}: expected mode, rate, since, snapshot, window or slow"));
        }
    }
    Ok(())
}

/// The number that is the value of `key`.
///
/// # Errors
/// It is not a number, or too large.
pub fn number<N: FromStr>(key: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{key} is {value:?}: expected a number"))
}

/// The treatment of a slow reader, by name.
///
/// # Errors
/// The name is unknown.
pub fn slow_reader(value: &str) -> Result<SlowReader, String> {
    match value {
        "gap" => Ok(SlowReader::Gap),
        "conflate" => Ok(SlowReader::Conflate),
        "close" => Ok(SlowReader::Close),
        _ => Err(format!("a slow reader is {value:?}: expected gap, conflate or close")),
    }
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "all" => Ok(Mode::All),
        "latest" => Ok(Mode::Latest),
        _ => Err(format!("mode is {value:?}: expected all or latest")),
    }
}

fn since(value: &str) -> Result<Since, String> {
    let (epoch, seq) = value.split_once(':').ok_or("since is EPOCH:SEQ")?;
    Ok(Since { epoch: number("epoch", epoch)?, seq: number("seq", seq)? })
}
