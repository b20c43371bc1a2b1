//! `/words`: commands and answers in words, one per message.
//!
//! | command | |
//! |---|---|
//! | `sub TOPIC [latest] [rate=N] [since=EPOCH:SEQ] [snapshot] [window=N] [slow=WHAT] [raw]` | answered with `subscribed TOPIC EPOCH SEQ RECOVERED` |
//! | `unsub TOPIC` | answered with `unsubscribed TOPIC` |
//! | `ack TOPIC SEQ` | not answered |
//! | `pub TOPIC KEY TOKEN PAYLOAD` | `-` for no key or no token; with a token answered with `published TOKEN SEQ` |
//! | `remove TOPIC KEY TOKEN PAYLOAD` | the same, and the key has no value afterwards |
//!
//! A publication is text or binary as its command was. Messages and marks arrive in the lane
//! of [`ENVELOPE`], unless the subscription is `raw`. A command that fails is answered with
//! `refused COMMAND WHY`: no failure is unreported.

use super::options::{number, set};
use tapecast::hub::Delivery;
use tapecast::testing::ENVELOPE;
use tapecast::{Conn, Handler, Message, Notice, Publish, Request, Upgrade};

/// The handler. It keeps nothing about its connections.
#[derive(Debug)]
pub struct Words;

impl Handler for Words {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let words = head(message.payload());
        let word = words.first().copied().unwrap_or_default();
        let done = match word {
            "sub" => subscribe(conn, &words),
            "unsub" => unsubscribe(conn, &words),
            "ack" => acknowledge(conn, &words),
            "pub" | "remove" => publish(conn, message),
            _ => Err("expected sub, unsub, ack, pub or remove".into()),
        };
        if let Err(why) = done {
            answer(conn, &format!("refused {word} {why}"));
        }
    }

    fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: Notice<'_>) {
        let words = match notice {
            Notice::Subscribed { topic, epoch, seq, recovered } => {
                format!("subscribed {topic} {epoch} {seq} {recovered}")
            }
            Notice::Published { token: Some(token), result: Ok(seq) } => {
                format!("published {token} {seq}")
            }
            Notice::Published { token, result: Err(error) } => match token {
                Some(token) => format!("refused pub {token} {error}"),
                None => format!("refused pub {error}"),
            },
            Notice::Refused { topic, error } => format!("refused match {topic} {error}"),
            // Marks arrive in their lane. Nothing here asks for the other notices.
            _ => return,
        };
        answer(conn, &words);
    }
}

fn answer(conn: &mut Conn<'_, ()>, words: &str) {
    // The limits close a client that does not read its answers.
    let _ = conn.send(words);
}

/// The words of a command, up to the first byte that is not text.
fn head(payload: &[u8]) -> Vec<&str> {
    let text = match str::from_utf8(payload) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&payload[..error.valid_up_to()]).expect("valid up to there"),
    };
    text.split(' ').collect()
}

fn subscribe(conn: &mut Conn<'_, ()>, words: &[&str]) -> Result<(), String> {
    let [_, topic, options @ ..] = words else { return Err("expected a topic".into()) };
    let mut delivery = Delivery { lane: Some(&ENVELOPE), ..Delivery::default() };
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => set(&mut delivery, key, value)?,
            None if *option == "latest" => set(&mut delivery, "mode", option)?,
            None if *option == "raw" => delivery.lane = None,
            None => set(&mut delivery, option, "")?,
        }
    }
    conn.subscribe_with(topic, &delivery).map_err(|error| error.to_string())
}

fn unsubscribe(conn: &mut Conn<'_, ()>, words: &[&str]) -> Result<(), String> {
    let [_, topic] = words else { return Err("expected a topic".into()) };
    if !conn.unsubscribe(topic) {
        return Err(format!("not subscribed to {topic}"));
    }
    answer(conn, &format!("unsubscribed {topic}"));
    Ok(())
}

fn acknowledge(conn: &mut Conn<'_, ()>, words: &[&str]) -> Result<(), String> {
    let [_, topic, seq] = words else { return Err("expected a topic and a number".into()) };
    if !conn.acknowledge(topic, number("seq", seq)?) {
        return Err(format!("not subscribed to {topic}"));
    }
    Ok(())
}

fn publish(conn: &mut Conn<'_, ()>, message: Message<'_>) -> Result<(), String> {
    let mut parts = message.payload().splitn(5, |&byte| byte == b' ');
    let mut word = || {
        let part = parts.next().ok_or("expected TOPIC KEY TOKEN PAYLOAD")?;
        str::from_utf8(part).map_err(|_| "expected UTF-8 before the payload")
    };
    let [command, topic, key, token] = [word()?, word()?, word()?, word()?];
    let payload = parts.next().ok_or("expected a payload, empty at least")?;
    let payload = match message {
        // The payload starts after a space, so it is valid text too.
        Message::Text(text) => Message::Text(&text[text.len() - payload.len()..]),
        Message::Binary(_) => Message::Binary(payload),
    };
    let publish = Publish {
        key: Some(key).filter(|&key| key != "-"),
        removes_key: command == "remove",
        token: Some(token)
            .filter(|&token| token != "-")
            .map(|token| number("token", token))
            .transpose()?,
        json: false,
    };
    // If the publication waits, the server pauses the connection by itself.
    conn.publish_with(topic, payload, &publish).map(|_| ()).map_err(|error| error.to_string())
}
