//! Random numbers that must differ but need not be secret: epochs, delays, simulations. For
//! unpredictable ones there is [`entropy`](super::entropy).

/// SplitMix64: every seed gives a full-period sequence.
///
/// ```
/// use tapecast::base::Random;
///
/// // The same seed, the same simulation.
/// let (mut first, mut second) = (Random::new(7), Random::new(7));
/// assert_eq!(first.number(), second.number());
/// assert!(first.below(6) < 6);
/// assert!(!first.chance(0));
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that `seed` determines.
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True once in `one_in` times; never for 0.
    pub fn chance(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.below(one_in) == 0
    }

    /// Sixteen bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number().to_ne_bytes());
        bytes[8..].copy_from_slice(&self.number().to_ne_bytes());
        bytes
    }
}
