//! A simulated market: a hundred symbols with an order book each, in which prices wander and
//! now and then one symbol draws most of the orders.
//!
//! | topic | key | message |
//! |---|---|---|
//! | `quotes` | the symbol | best bid and ask, last price, change since the start in percent, volume; `at` is the time of publication, in µs since 1970 |
//! | `trend` | the symbol | its last prices of two minutes, 2.5 seconds apart, the newest at the end |
//! | `trades` | none | symbol, price, size, and whether the taker bought or sold |
//! | `book.SYMBOL` | side and price of a level | the level's size, and a summary of the book with it (best prices and numbers of levels), for readers to check their copy against |

use super::book::{Book, Happening, Price, Side, Top};
use crate::app::{Publish, Publisher};
use crate::base::Random;
use crate::hub::HubError;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The topic of quotes.
pub const QUOTES: &str = "quotes";
/// The topic of trends.
pub const TREND: &str = "trend";
/// The topic of trades.
pub const TRADES: &str = "trades";
/// The prefix of the topics of books.
pub const BOOK: &str = "book.";

/// Minerals, so that no symbol means a company.
const SYMBOLS: &str = "AGAT ALBT ALEX AMAZ AMBR AMTH ANDS ANHY APAT AQUA ARAG AUGT AXIN AZUR \
    BARY BENT BERY BIOT BORX BRKT BRUC CALC CASS CELS CERU CHAL CHRM CINN CITR COBL COPR CORD \
    CORU COVL CROC CUPR DIAM DIOP DOLO DRAV ELBA EMER ENST EPID EUCL FELD FLUO FRAN GALN GARN \
    GOET GOLD GRAF GYPS HALI HELI HEMA HORN ILME INDI IOLT JADE JASP KAOL KYAN LAPI LAZU LEPI \
    MALA MARC MICA MOLY MUSC NATR NEPH OLIV ONYX OPAL ORPI PERI PYRT QRTZ REAL RHOD RUBY RUTI \
    SAPH SILV SODA SPHN SPIN STIB TALC TOPZ TOUR TURQ VARI WULF ZEOL ZIRC";

/// The points of a trend, and the time between two.
const POINTS: usize = 49;
const POINT: Duration = Duration::from_millis(2_500);
/// The maximum events between two points of the simulated past, which delays the start.
const PAST_EVENTS_MAX: u64 = 1_000;

/// How often the market checks the clock.
const TICK: Duration = Duration::from_millis(5);
/// One event in so many starts a run on a symbol.
const RUN_ONE_IN: u64 = 4_000;

#[derive(Debug)]
struct Symbol {
    name: &'static str,
    topic: String,
    book: Book,
    open: Price,
    last: Price,
    volume: u64,
    trend: VecDeque<Price>,
    /// The quote that was published last.
    quoted: (Price, Price, Price),
}

/// All symbols.
#[derive(Debug)]
pub struct Market {
    symbols: Vec<Symbol>,
    random: Random,
    /// The symbol of the current run, its remaining events, and whether it is one of buyers.
    run: Option<(usize, u64, bool)>,
}

/// A message to publish.
#[derive(Debug)]
pub struct Message<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key, if it has one.
    pub key: Option<&'a str>,
    /// Whether it removes the key.
    pub removes_key: bool,
    /// The body.
    pub json: &'a str,
}

impl Market {
    /// A market at its opening.
    pub fn new(seed: u64) -> Market {
        let mut random = Random::new(seed);
        let symbols = SYMBOLS.split_whitespace().map(|name| {
            let price = 400 + random.below(6_000).cast_signed();
            let book = Book::around(price, &mut random);
            let price = Price(price);
            Symbol {
                name,
                topic: format!("{BOOK}{name}"),
                open: price,
                last: price,
                volume: 0,
                trend: VecDeque::with_capacity(POINTS),
                quoted: (Price(0), Price(0), Price(0)),
                book,
            }
        });
        let symbols = symbols.collect();
        Market { symbols, random, run: None }
    }

    /// One event at a random symbol; `publish` gets its messages.
    ///
    /// # Errors
    /// Those of `publish`.
    pub fn step<E>(
        &mut self,
        publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.random.chance(RUN_ONE_IN) {
            let which = self.random.below(self.symbols.len() as u64) as usize;
            self.run = Some((which, 200 + self.random.below(800), self.random.chance(2)));
        }
        // During a run, every third event is at its symbol.
        let index = match &mut self.run {
            Some((which, left, _)) if self.random.chance(3) => {
                *left = left.saturating_sub(1);
                *which
            }
            _ => self.random.below(self.symbols.len() as u64) as usize,
        };
        let buyers = match self.run {
            Some((which, _, buys)) if which == index => {
                if buys {
                    80
                } else {
                    20
                }
            }
            _ => 50,
        };
        self.run = self.run.filter(|run| run.1 > 0);
        self.symbols[index].step(&mut self.random, buyers, publish)
    }

    /// Simulates the two minutes before the start, at so many events a second.
    pub fn live_through(&mut self, per_second: u32) {
        let events = (f64::from(per_second) * POINT.as_secs_f64()) as u64;
        for _ in 0..POINTS {
            for _ in 0..events.min(PAST_EVENTS_MAX) {
                let unpublished: Result<(), Infallible> = self.step(&mut |_| Ok(()));
                let Ok(()) = unpublished;
            }
            let unpublished: Result<(), Infallible> = self.mark(&mut |_| Ok(()));
            let Ok(()) = unpublished;
        }
    }

    /// Adds a point to every symbol's trend.
    ///
    /// # Errors
    /// Those of `publish`.
    pub fn mark<E>(
        &mut self,
        publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for Symbol { name, last, trend, .. } in &mut self.symbols {
            if trend.len() == POINTS {
                trend.pop_front();
            }
            trend.push_back(*last);
            let points: Vec<String> = trend.iter().map(ToString::to_string).collect();
            let json = format!("[{}]", points.join(","));
            publish(Message { topic: TREND, key: Some(name), removes_key: false, json: &json })?;
        }
        Ok(())
    }

    /// Publishes the whole state, for the first subscribers.
    ///
    /// # Errors
    /// Those of `publish`.
    pub fn open<E>(
        &mut self,
        publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for symbol in &mut self.symbols {
            for (level, top) in symbol.book.levels_in_order() {
                publish_level(&symbol.topic, level, top, publish)?;
            }
            // Quotes of the simulated past were not published.
            symbol.quoted = (Price(0), Price(0), Price(0));
            symbol.quote(publish)?;
        }
        self.mark(publish)
    }
}

impl Symbol {
    fn step<E>(
        &mut self,
        random: &mut Random,
        buyers: u64,
        publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Symbol { name, topic, book, last, volume, .. } = self;
        let mut result = Ok(());
        book.step(random, buyers, &mut |book, happening| {
            if result.is_err() {
                return;
            }
            result = match happening {
                Happening::Level { .. } => publish_level(topic, happening, book.top(), publish),
                Happening::Trade { taken, price, size } => {
                    *last = price;
                    *volume += u64::from(size);
                    let side = if taken == Side::Ask { "buy" } else { "sell" };
                    let json = format!(
                        r#"{{"symbol":"{name}","price":{price},"size":{size},"side":"{side}"}}"#
                    );
                    publish(Message { topic: TRADES, key: None, removes_key: false, json: &json })
                }
            };
        });
        result?;
        self.quote(publish)
    }

    /// Publishes the quote, if it has changed.
    fn quote<E>(&mut self, publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>) -> Result<(), E> {
        let (bid, ask) = (self.book.best(Side::Bid), self.book.best(Side::Ask));
        if self.quoted == (bid, ask, self.last) {
            return Ok(());
        }
        self.quoted = (bid, ask, self.last);
        let change = (self.last.0 - self.open.0) as f64 * 100.0 / self.open.0 as f64;
        let Symbol { name, last, volume, .. } = self;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let json = format!(
            r#"{{"bid":{bid},"ask":{ask},"last":{last},"change":{change:.2},"volume":{volume},"at":{at}}}"#
        );
        publish(Message { topic: QUOTES, key: Some(name), removes_key: false, json: &json })
    }
}

fn publish_level<E>(
    topic: &str,
    level: Happening,
    top: Top,
    publish: &mut dyn FnMut(Message<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let Happening::Level { side, price, size } = level else { return Ok(()) };
    let side = side.name();
    let or_null = |price: Option<Price>| price.map_or("null".to_owned(), |it| it.to_string());
    let Top { bid, ask, bids, asks } = top;
    let (bid, ask) = (or_null(bid), or_null(ask));
    let json = format!(
        r#"{{"side":"{side}","price":{price},"size":{size},"bid":{bid},"ask":{ask},"bids":{bids},"asks":{asks}}}"#
    );
    let key = format!("{side} {price}");
    publish(Message { topic, key: Some(&key), removes_key: size == 0, json: &json })
}

/// Runs the market at so many events a second, until the server has stopped.
pub fn run(publisher: &Publisher, seed: u64, per_second: u32) {
    let mut publish = |message: Message<'_>| -> Result<(), HubError> {
        let Message { topic, key, removes_key, json } = message;
        let how = Publish { key, removes_key, json: true, token: None };
        loop {
            match publisher.publish_with(topic, json, &how) {
                // A book that misses a change stays wrong, so wait.
                Err(HubError::Full) => std::thread::sleep(TICK),
                done => return done,
            }
        }
    };
    let mut market = Market::new(seed);
    market.live_through(per_second);
    let mut done = market.open(&mut publish);
    let start = Instant::now();
    let mut events = 0;
    let mut marked = start;
    while done.is_ok() {
        if marked.elapsed() >= POINT {
            marked = Instant::now();
            done = market.mark(&mut publish);
        }
        let due = (start.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
        // After a pause of the machine the market continues; it does not catch up.
        events = events.max(due.saturating_sub(u64::from(per_second) / 10 + 1));
        while events < due && done.is_ok() {
            events += 1;
            done = market.step(&mut publish);
        }
        std::thread::sleep(TICK);
    }
    match done {
        Ok(()) | Err(HubError::Stopped) => {}
        Err(error) => tracing::error!(%error, "the market has stopped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_hundred_symbols_have_names_of_four_letters() {
        let market = Market::new(1);
        let names: BTreeSet<_> = market.symbols.iter().map(|symbol| symbol.name).collect();
        assert_eq!((names.len(), market.symbols.len()), (100, 100));
        assert!(names.iter().all(|name| name.len() == 4));
    }

    /// A reader that applies the messages of a book has the book that they summarise.
    #[test]
    fn books_can_be_followed_and_checked() {
        let mut books: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        let mut quotes = 0;
        let mut publish = |message: Message<'_>| -> Result<(), ()> {
            let json: Value = serde_json::from_str(message.json).expect("JSON");
            if message.topic == QUOTES {
                assert!(json["bid"].as_f64() < json["ask"].as_f64());
                quotes += 1;
            }
            if message.topic.starts_with(BOOK) {
                let book = books.entry(message.topic.to_owned()).or_default();
                let key = message.key.unwrap();
                if message.removes_key {
                    book.remove(key).expect("the level exists");
                } else {
                    book.insert(key.to_owned(), json["price"].clone());
                }
                let of = |side: &'static str| {
                    let levels = book.iter().filter(move |(key, _)| key.starts_with(side));
                    levels.map(|(_, price)| price.as_f64().unwrap())
                };
                assert_eq!(json["bid"].as_f64(), of("bid").reduce(f64::max));
                assert_eq!(json["ask"].as_f64(), of("ask").reduce(f64::min));
                assert_eq!(json["bids"], of("bid").count());
                assert_eq!(json["asks"], of("ask").count());
            }
            Ok(())
        };
        let mut market = Market::new(2);
        market.live_through(100);
        assert!(market.symbols.iter().all(|symbol| symbol.trend.len() == POINTS));
        market.open(&mut publish).unwrap();
        for _ in 0..20_000 {
            market.step(&mut publish).unwrap();
        }
        assert!(quotes > 5_000, "{quotes}");
        assert_eq!(books.len(), 100);
    }
}
