//! Seeded choices: a failing run can be repeated.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// The seed from `FHIRWAY_TEST_SEED`, else a fixed one; printed, so that a failure names it.
    pub fn seeded() -> Self {
        let seed = std::env::var("FHIRWAY_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(20_260_101);
        println!("FHIRWAY_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}
