//! Who asks for what, and when.

use std::time::Duration;

/// Places behind the queue.
pub(crate) const PLACES: usize = 40;

/// Tenants in the flood; the first one floods.
pub(crate) const TENANTS: usize = 10;

/// Tokens of a polite call, on average.
const SIZE: f64 = 400.0;

/// What one place makes of a token.
const PER_TOKEN: f64 = 3.0 / SIZE;

/// How long calls arrive, and pass.
pub(crate) const HORIZON: Duration = Duration::from_secs(600);

/// A call, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Call {
    /// Since the start.
    pub(crate) at: Duration,
    pub(crate) tenant: usize,
    /// What it is expected to use.
    pub(crate) expected: u64,
    /// What it uses.
    pub(crate) tokens: u64,
}

impl Call {
    /// How long it has its place.
    pub(crate) fn service(&self) -> Duration {
        Duration::from_secs_f64(self.tokens as f64 * PER_TOKEN)
    }
}

/// All but the first ask for 0.8 of their fair share; the first sends ten times the calls of one of
/// them, each four times the size.
pub(crate) fn flood(seed: u64) -> Vec<Call> {
    let polite = 0.8 * PLACES as f64 / TENANTS as f64 / (SIZE * PER_TOKEN);
    let loads = (0..TENANTS).map(|tenant| match tenant {
        0 => (10.0 * polite, 4.0 * SIZE),
        _ => (polite, SIZE),
    });
    arrivals(seed, loads)
}

/// Each asks for half as much again as it is due, the later ones in larger calls.
pub(crate) fn backlog(seed: u64, weights: &[u32]) -> Vec<Call> {
    let all: u32 = weights.iter().sum();
    let loads = weights.iter().enumerate().map(|(tenant, &weight)| {
        let size = SIZE * (1.0 + tenant as f64 / weights.len() as f64);
        let due = f64::from(weight) / f64::from(all);
        (1.5 * due * PLACES as f64 / (size * PER_TOKEN), size)
    });
    arrivals(seed, loads)
}

/// Calls of tenants with so many arrivals a second, of such a size on average.
fn arrivals(seed: u64, loads: impl Iterator<Item = (f64, f64)>) -> Vec<Call> {
    let mut random = Random(seed);
    let mut calls = Vec::new();
    for (tenant, (rate, size)) in loads.enumerate() {
        let mut at = random.exponential() / rate;
        while at < HORIZON.as_secs_f64() {
            let tokens = (size * random.lognormal(0.6)).ceil() as u64;
            let at_instant = Duration::from_secs_f64(at);
            calls.push(Call { at: at_instant, tenant, expected: size as u64, tokens });
            at += random.exponential() / rate;
        }
    }
    calls.sort_by_key(|call| call.at);
    calls
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Of mean 1.
    fn lognormal(&mut self, sigma: f64) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        (sigma * normal - sigma * sigma / 2.0).exp()
    }
}
