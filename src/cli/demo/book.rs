//! A simulated order book: orders arrive, change, leave and trade.
//!
//! Invariants: each side has between one and [`LEVELS`] levels, and the best bid is below the
//! best ask, after every change.

use crate::base::Random;
use std::collections::BTreeMap;
use std::fmt;

/// The maximum levels of a side.
pub const LEVELS: usize = 10;
/// Nobody sells below this best bid, so that every level stays above zero.
const PRICE_MIN: i64 = 100;
/// The maximum ticks between the two sides.
const SPREAD_MAX: i64 = 8;

/// A price in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub i64);

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A side of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Buyers.
    Bid,
    /// Sellers.
    Ask,
}

impl Side {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Side::Bid => "bid",
            Side::Ask => "ask",
        }
    }

    fn other(self) -> Side {
        match self {
            Side::Bid => Side::Ask,
            Side::Ask => Side::Bid,
        }
    }

    /// One tick away from the other side.
    fn away(self) -> i64 {
        match self {
            Side::Bid => -1,
            Side::Ask => 1,
        }
    }
}

/// A change of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A level has a new size; 0 removes it.
    Level {
        /// The side of the level.
        side: Side,
        /// Its price.
        price: Price,
        /// Its new size.
        size: u32,
    },
    /// An order took from one side.
    Trade {
        /// The side it took from.
        taken: Side,
        /// The price of the trade.
        price: Price,
        /// Its size.
        size: u32,
    },
}

/// The summary of a book, for readers to check their copy against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The best bid; none while the book is published level by level and has none yet.
    pub bid: Option<Price>,
    /// The best ask, likewise.
    pub ask: Option<Price>,
    /// The number of bid levels.
    pub bids: usize,
    /// The number of ask levels.
    pub asks: usize,
}

/// The orders of one symbol.
#[derive(Debug)]
pub struct Book {
    /// Price to size.
    bids: BTreeMap<i64, u32>,
    asks: BTreeMap<i64, u32>,
}

impl Book {
    /// A full book around a price well above zero.
    pub fn around(price: i64, random: &mut Random) -> Book {
        let mut book = Book { bids: BTreeMap::new(), asks: BTreeMap::new() };
        for level in 1..=LEVELS as i64 {
            book.bids.insert(price - level, size(random));
            book.asks.insert(price + level, size(random));
        }
        book
    }

    fn levels(&mut self, side: Side) -> &mut BTreeMap<i64, u32> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// The price nearest to the other side.
    pub fn best(&self, side: Side) -> Price {
        let best = match side {
            Side::Bid => self.bids.last_key_value(),
            Side::Ask => self.asks.first_key_value(),
        };
        Price(*best.expect("a side is never empty").0)
    }

    /// The number of levels of a side.
    pub fn len(&self, side: Side) -> usize {
        match side {
            Side::Bid => self.bids.len(),
            Side::Ask => self.asks.len(),
        }
    }

    /// The summary of the book.
    pub fn top(&self) -> Top {
        Top {
            bid: Some(self.best(Side::Bid)),
            ask: Some(self.best(Side::Ask)),
            bids: self.bids.len(),
            asks: self.asks.len(),
        }
    }

    /// Every level as a new one, each with the summary of the book up to it.
    pub fn levels_in_order(&self) -> impl Iterator<Item = (Happening, Top)> + '_ {
        let level = |side, (&price, &size): (&i64, &u32)| Happening::Level {
            side,
            price: Price(price),
            size,
        };
        let bid = Some(self.best(Side::Bid));
        let bids = self.bids.iter().rev().enumerate().map(move |(before, entry)| {
            (level(Side::Bid, entry), Top { bid, bids: before + 1, ..Top::default() })
        });
        let asks = self.asks.iter().enumerate().map(move |(before, entry)| {
            let top = Top { ask: Some(self.best(Side::Ask)), asks: before + 1, ..self.top() };
            (level(Side::Ask, entry), top)
        });
        bids.chain(asks)
    }

    /// Makes one random change. Of a hundred trades, `buyers` take from the asks.
    pub fn step(
        &mut self,
        random: &mut Random,
        buyers: u64,
        happens: &mut dyn FnMut(&Book, Happening),
    ) {
        let side = if random.chance(2) { Side::Bid } else { Side::Ask };
        match random.below(100) {
            0..=59 => self.change(side, random, happens),
            60..=79 => self.improve(side, random, happens),
            _ => {
                let taken = if random.below(100) < buyers { Side::Ask } else { Side::Bid };
                self.trade(taken, random, happens);
            }
        }
    }

    fn set(
        &mut self,
        side: Side,
        price: i64,
        size: u32,
        happens: &mut dyn FnMut(&Book, Happening),
    ) {
        match size {
            0 => self.levels(side).remove(&price),
            _ => self.levels(side).insert(price, size),
        };
        happens(self, Happening::Level { side, price: Price(price), size });
    }

    /// Changes the size of a random level.
    fn change(
        &mut self,
        side: Side,
        random: &mut Random,
        happens: &mut dyn FnMut(&Book, Happening),
    ) {
        let nth = random.below(self.len(side) as u64) as usize;
        let price = *self.levels(side).keys().nth(nth).expect("below the count");
        self.set(side, price, size(random), happens);
    }

    /// Adds a better price, where there is room between the sides.
    fn improve(
        &mut self,
        side: Side,
        random: &mut Random,
        happens: &mut dyn FnMut(&Book, Happening),
    ) {
        let (best, other) = (self.best(side).0, self.best(side.other()).0);
        if (other - best).abs() > 1 {
            self.set(side, best - side.away(), size(random), happens);
            self.keep_levels(side, happens);
        }
    }

    /// Takes from the best level of a side.
    fn trade(
        &mut self,
        taken: Side,
        random: &mut Random,
        happens: &mut dyn FnMut(&Book, Happening),
    ) {
        // Prices stay above zero.
        if taken == Side::Bid && self.best(Side::Bid).0 < PRICE_MIN {
            return;
        }
        let price = self.best(taken).0;
        let there = self.levels(taken)[&price];
        let size = there.min(size(random));
        happens(self, Happening::Trade { taken, price: Price(price), size });
        if there > size {
            return self.set(taken, price, there - size, happens);
        }
        // A side is never empty: a deeper level is added before the last one goes.
        let deepest = match taken {
            Side::Bid => *self.bids.keys().next().expect("a side is never empty"),
            Side::Ask => *self.asks.keys().next_back().expect("a side is never empty"),
        };
        if self.len(taken) < LEVELS {
            self.set(taken, deepest + taken.away(), self::size(random), happens);
        }
        if self.len(taken) > 1 {
            self.set(taken, price, 0, happens);
        } else {
            self.set(taken, price, self::size(random), happens);
        }
        // The other side follows.
        let follower = taken.other();
        while (self.best(taken).0 - self.best(follower).0).abs() > SPREAD_MAX {
            let price = self.best(follower).0 - follower.away();
            self.set(follower, price, self::size(random), happens);
            self.keep_levels(follower, happens);
        }
    }

    /// Removes the deepest levels above the maximum.
    fn keep_levels(&mut self, side: Side, happens: &mut dyn FnMut(&Book, Happening)) {
        while self.len(side) > LEVELS {
            let deepest = match side {
                Side::Bid => self.bids.keys().next(),
                Side::Ask => self.asks.keys().next_back(),
            };
            let deepest = *deepest.expect("more than some");
            self.set(side, deepest, 0, happens);
        }
    }
}

/// A random size, small ones more often.
fn size(random: &mut Random) -> u32 {
    let hundreds = 1 + random.below(9) * random.below(9) / 2;
    u32::try_from(hundreds * 100).expect("at most a few thousand")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that applies every change has the same book after each of them.
    #[test]
    fn a_reader_of_all_changes_has_the_book() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut book = Book::around(10_000, &mut random);
            let (mut bids, mut asks) = (book.bids.clone(), book.asks.clone());
            let mut trades = 0;
            for _ in 0..2_000 {
                book.step(&mut random, 50 + seed % 2 * 20, &mut |book, happening| {
                    match happening {
                        Happening::Trade { taken, price, size } => {
                            assert_eq!(book.best(taken), price);
                            assert!(size > 0);
                            trades += 1;
                        }
                        Happening::Level { side, price, size } => {
                            let twin = if side == Side::Bid { &mut bids } else { &mut asks };
                            match size {
                                0 => twin.remove(&price.0),
                                _ => twin.insert(price.0, size),
                            };
                        }
                    }
                    assert_eq!((&bids, &asks), (&book.bids, &book.asks));
                    assert!(book.best(Side::Bid) < book.best(Side::Ask));
                });
                assert!((1..=LEVELS).contains(&book.len(Side::Bid)));
                assert!((1..=LEVELS).contains(&book.len(Side::Ask)));
            }
            assert!(trades > 200, "{trades}");
        }
    }

    #[test]
    fn prices_stay_above_zero_while_everybody_sells() {
        let mut random = Random::new(3);
        let mut book = Book::around(150, &mut random);
        for _ in 0..20_000 {
            book.step(&mut random, 0, &mut |_, happening| {
                if let Happening::Level { price, .. } = happening {
                    assert!(price.0 > 0, "{price}");
                }
            });
        }
    }

    #[test]
    fn prices_are_shown_with_two_decimals() {
        assert_eq!(Price(10_005).to_string(), "100.05");
        assert_eq!(Price(7).to_string(), "0.07");
    }
}
