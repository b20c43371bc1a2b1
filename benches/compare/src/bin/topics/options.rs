//! How a subscription is asked for: `KEY=VALUE` pairs, the same on both routes.

use std::str::FromStr;
use tapecast::hub::{Delivery, Mode, Since, SlowReader};

/// Sets what one pair asks for.
///
/// # Errors
/// What is wrong with it.
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

/// A number, of which `key` says what it is.
///
/// # Errors
/// It is none, or too large.
pub fn number<N: FromStr>(key: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{key} is {value:?}: expected a number"))
}

/// What becomes of a slow reader, by its name.
///
/// # Errors
/// There is none of that name.
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
