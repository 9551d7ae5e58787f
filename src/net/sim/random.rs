//! A seeded random number generator for tests: SplitMix64 (Steele, Lea, Flood 2014).

/// A pseudo-random number generator. Equal seeds give equal numbers. Not for cryptography.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Makes a generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number, of all `u64`.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end - 1`.
    ///
    /// # Panics
    ///
    /// `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// `true` with a chance of one in `times`, and never if `times` is 0.
    pub fn one_in(&mut self, times: u32) -> bool {
        times > 0 && self.number().is_multiple_of(u64::from(times))
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
