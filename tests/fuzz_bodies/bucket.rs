//! The bucket against exact arithmetic, against the law it is there for, and with numbers that no
//! limit has.

use std::time::Duration;

use evenkeel::rate::{Bucket, Rate, Refused, Taken};

use crate::bytes::Bytes;
use crate::cell::{Cell, Fits, Part};

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    if bytes.flag() { absurd(&mut bytes) } else { exact(&mut bytes) }
}

/// One reservation, on either side.
struct Out {
    taken: Taken,
    part: Part,
    amount: u64,
    since: u64,
}

struct Pair {
    rate: Rate,
    bucket: Bucket,
    cell: Cell,
    burst: u64,
    now: u64,
    out: Vec<Out>,
    /// When a call began and what it used, once it was settled.
    used: Vec<(u64, u64)>,
    /// What passed although it did not fit.
    excess: u64,
}

fn exact(bytes: &mut Bytes<'_>) {
    let amount = 1 + u64::from(bytes.short());
    let window = *bytes.pick(&[1_000_000, 1_000_000_000, 60_000_000_000, 86_400_000_000_000]);
    let burst = 1 + u64::from(bytes.short()) % 1_000;
    let rate = Rate::new(amount, Duration::from_nanos(window), burst).expect("a usual rate");
    let cell = Cell::new(amount, window, burst);
    let (bucket, out, used) = (Bucket::new(), Vec::new(), Vec::new());
    let mut pair = Pair { rate, bucket, cell, burst, now: 0, out, used, excess: 0 };
    let pace = window / amount * (1 + u64::from(bytes.byte()));
    let mut steps = 0;
    while !bytes.is_empty() && steps < 64 {
        pair.step(bytes, pace);
        pair.check();
        steps += 1;
    }
    pair.check_every_window(amount, window);
}

impl Pair {
    fn step(&mut self, bytes: &mut Bytes<'_>, pace: u64) {
        let kind = bytes.byte();
        let amount = u64::from(bytes.short()) % (2 * self.burst + 2);
        self.now += pace * u64::from(kind >> 4) / 8;
        match kind % 8 {
            0..=2 => self.reserve(amount),
            3 => self.reserve_beyond(amount),
            4 => self.charge(amount),
            5 => self.grow(bytes.below(256), amount % 16),
            6 if bytes.byte() == 0 => {
                self.bucket.lower_to(&self.rate, amount, self.now);
                self.cell.lower_to(self.cell.parts(amount), self.now);
            }
            _ => self.settle(bytes.below(256), amount),
        }
    }

    fn reserve(&mut self, amount: u64) {
        let parts = self.cell.parts(amount);
        let fits = self.cell.fits(parts, self.cell.burst(), self.now);
        match self.bucket.reserve(&self.rate, amount, self.now) {
            Ok(taken) => {
                assert!(amount <= self.burst && fits != Fits::No, "{amount} were let in");
                let part = self.cell.take(parts, self.now);
                self.out.push(Out { taken, part, amount, since: self.now });
            }
            Err(Refused::Never { burst }) => assert!(amount > self.burst && burst == self.burst),
            Err(Refused::NotYet(wait)) => {
                assert!(amount <= self.burst && fits != Fits::Yes, "{amount} were refused");
                self.check_wait(parts, wait);
                let at = self.now + wait.as_nanos() as u64;
                assert!(self.bucket.wait_for(&self.rate, amount, at) == Ok(Duration::ZERO));
                let before = self.bucket.wait_for(&self.rate, amount, at - 1);
                assert_eq!(before, Ok(Duration::from_nanos(1)), "a nanosecond less is too early");
            }
            Err(refused) => panic!("{refused}"),
        }
    }

    fn check_wait(&self, parts: i128, wait: Duration) {
        let over = self.cell.level(self.now) + parts - self.cell.burst();
        let exact = self.cell.drain_time(over.max(0));
        let slack = self.cell.drain_time(self.cell.slack(self.now)) + exact / 1_000_000 + 1;
        assert!((wait.as_nanos() as i128 - exact).abs() <= slack, "{wait:?}, exactly {exact} ns");
    }

    fn reserve_beyond(&mut self, amount: u64) {
        let parts = self.cell.parts(amount);
        let fits = self.cell.fits(parts, self.cell.burst().max(parts), self.now);
        match self.bucket.reserve_beyond(&self.rate, amount, self.now) {
            Ok(taken) => {
                assert!(fits != Fits::No);
                let part = self.cell.take(parts, self.now);
                self.excess += amount.saturating_sub(self.burst);
                self.out.push(Out { taken, part, amount, since: self.now });
            }
            Err(_) => assert!(fits != Fits::Yes),
        }
    }

    fn charge(&mut self, amount: u64) {
        let taken = self.bucket.charge(&self.rate, amount, self.now);
        let part = self.cell.take(self.cell.parts(amount), self.now);
        self.excess += amount;
        self.out.push(Out { taken, part, amount, since: self.now });
    }

    fn grow(&mut self, which: usize, more: u64) {
        let many = self.out.len().max(1);
        let Some(out) = self.out.get_mut(which % many) else { return };
        out.taken = self.bucket.grow(&self.rate, out.taken, more, self.now);
        out.part = self.cell.grow(out.part, self.cell.parts(more), self.now);
        out.amount += more;
        self.excess += more;
    }

    fn settle(&mut self, which: usize, actual: u64) {
        if self.out.is_empty() {
            return;
        }
        let Out { taken, part, amount, since } = self.out.swap_remove(which % self.out.len());
        let level = self.bucket.available(&self.rate, self.now);
        let refunded = self.bucket.settle(&self.rate, taken, actual, self.now);
        if refunded {
            assert!(actual < amount, "what was used was refunded");
        }
        if actual >= amount {
            assert!(self.bucket.available(&self.rate, self.now) <= level);
        }
        self.cell.settle(part, self.cell.parts(actual), self.now);
        self.excess += actual.saturating_sub(amount);
        self.used.push((since, actual));
    }

    fn check(&self) {
        let (cell, now) = (&self.cell, self.now);
        let exact = (cell.burst() - cell.level(now)).max(0);
        let left = cell.parts(self.bucket.available(&self.rate, now));
        let slack = cell.slack(now) + cell.parts(1);
        assert!((left - exact).abs() <= slack, "{left} parts are left, exactly {exact}");
        if self.bucket.is_idle(&self.rate, now) {
            assert!(cell.level(now) <= cell.slack(now));
        }
    }

    /// No window lets through more than the burst, what comes in, and what did not fit.
    fn check_every_window(mut self, amount: u64, window: u64) {
        let now = self.now;
        for Out { amount, since, .. } in std::mem::take(&mut self.out) {
            self.used.push((since, amount));
        }
        self.used.sort_unstable();
        let slack = self.cell.slack(now) / i128::from(window) + 1;
        for (from, &(start, _)) in self.used.iter().enumerate() {
            let mut sum = 0;
            for &(at, used) in &self.used[from..] {
                sum += i128::from(used);
                let refill = i128::from(at - start) * i128::from(amount) / i128::from(window);
                let most = i128::from(self.burst) + refill + 1 + i128::from(self.excess) + slack;
                assert!(sum <= most, "{sum} passed in {} ns, at most {most}", at - start);
            }
        }
    }
}

/// Whatever a server or a caller names: nothing overflows, and a wait that is named is long enough.
fn absurd(bytes: &mut Bytes<'_>) {
    let window = Duration::from_nanos(bytes.number());
    let (amount, burst) = (bytes.number(), bytes.number());
    let Ok(rate) = Rate::new(amount, window, burst) else { return };
    assert_eq!(rate.burst(), burst);
    let (bucket, mut now, mut out) = (Bucket::new(), 0_u64, vec![Taken::default()]);
    for _ in 0..32 {
        if bytes.is_empty() {
            return;
        }
        now = now.saturating_add(bytes.number() >> 8);
        let (kind, amount) = (bytes.byte(), bytes.number());
        let taken = out[usize::from(kind >> 4) % out.len()];
        match kind % 8 {
            0 | 1 => match bucket.reserve(&rate, amount, now) {
                Ok(taken) => out.push(taken),
                Err(Refused::NotYet(wait)) => check_absurd_wait(&bucket, &rate, amount, now, wait),
                Err(_) => assert!(amount > burst),
            },
            2 => out.extend(bucket.reserve_beyond(&rate, amount, now)),
            3 => out.push(bucket.charge(&rate, amount, now)),
            4 => out.push(bucket.grow(&rate, taken, amount, now)),
            5 => drop(bucket.cancel(&rate, taken, now)),
            6 => bucket.lower_to(&rate, amount, now),
            _ => drop(bucket.settle(&rate, taken, amount, now)),
        }
        assert!(bucket.available(&rate, now) <= burst);
        if bucket.is_idle(&rate, now) {
            assert_eq!(bucket.available(&rate, now), burst);
        }
    }
}

fn check_absurd_wait(bucket: &Bucket, rate: &Rate, amount: u64, now: u64, wait: Duration) {
    assert!(!wait.is_zero());
    // Centuries are as far as a wait is told.
    if wait == Duration::from_nanos(u64::MAX) {
        return;
    }
    if let Some(at) = u64::try_from(wait.as_nanos()).ok().and_then(|wait| now.checked_add(wait)) {
        let again = bucket.wait_for(rate, amount, at);
        assert!(again == Ok(Duration::ZERO), "{again:?} after {wait:?}");
    }
}
