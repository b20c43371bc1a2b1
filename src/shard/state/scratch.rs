//! Memory of the last turn, reused by the next one. It holds nothing between two turns.

use crate::base::Spare;
use crate::driver::{Batch, Errno, Event};
use crate::hub::{Signal, Step};

/// See the module.
pub struct Scratch<B> {
    pub events: Vec<Event<B>>,
    pub signals: Vec<Signal>,
    pub frames: Vec<u8>,
    pub steps: Vec<Step>,
    pub batch: Batch<'static>,
    pub sending: Vec<u32>,
    /// The result of each send of the turn, and its bytes.
    pub outcomes: Vec<(Result<usize, Errno>, usize)>,
    /// Where metered connections are read into: one buffer, always warm.
    pub hot: Vec<u8>,
    /// Plain bytes that were decrypted, or are to be encrypted: likewise.
    pub plain: Vec<u8>,
}

impl<B> Scratch<B> {
    pub fn new() -> Scratch<B> {
        Scratch {
            events: Vec::new(),
            signals: Vec::new(),
            frames: Vec::new(),
            steps: Vec::new(),
            batch: Batch::new(),
            sending: Vec::new(),
            outcomes: Vec::new(),
            hot: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.signals.give_spare_back();
        self.steps.give_spare_back();
        self.events.give_spare_back();
    }
}
