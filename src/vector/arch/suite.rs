//! One suite for every kernel, against sums in `f64`.

use super::kernels::{Kernels, Tables, available};
use crate::rng::Rng;
use crate::vector::bound::Stripe;

/// Stamps the suite for the kernels of that name; passes where the processor lacks them.
macro_rules! suite {
    ($($name:ident)*) => { $(
        mod $name {
            use super::Kernels;

            fn kernels() -> Option<&'static Kernels> {
                super::available().find(|kernels| kernels.name == stringify!($name))
            }

            #[test]
            fn dot_is_the_naive_sum() {
                kernels().map(super::check_dot);
            }

            #[test]
            fn four_rows_are_four_dots() {
                kernels().map(super::check_four);
            }

            #[test]
            fn products_are_three_dots() {
                kernels().map(super::check_products);
            }

            #[test]
            fn look_ups_add_up() {
                kernels().map(super::check_look_up);
            }
        }
    )* };
}

suite!(portable avx2 avx512);

#[test]
fn every_kernel_is_in_the_suite() {
    assert!(available().all(|kernels| ["portable", "avx2", "avx512"].contains(&kernels.name)));
}

fn lengths() -> impl Iterator<Item = usize> {
    // Miri takes a thousand times as long.
    let (few, many): (_, &[usize]) = match cfg!(miri) {
        true => (1..=18, &[67]),
        false => (1..=67, &[128, 383, 384, 768, 1536, 4096]),
    };
    few.chain(many.iter().copied())
}

/// Every length at every offset from alignment that a slice of `f32` can have within a register.
fn check_pairs(check: impl Fn(&[f32], [&[f32]; 4])) {
    let rng = Rng::from_seed(5);
    let storage: Vec<f32> = (0..5 * 4_200).map(|_| (rng.unit() * 2.0 - 1.0) as f32).collect();
    for length in lengths() {
        for offset in 0..8 {
            let slice = |from: usize| &storage[from * 4_200 + offset..][..length];
            // Each row has an offset of its own.
            let rows =
                [1, 2, 3, 4].map(|row| &storage[row * 4_200 + (offset * row) % 8..][..length]);
            check(slice(0), rows);
        }
    }
}

fn check_dot(kernels: &Kernels) {
    check_pairs(|a, rows| rows.into_iter().for_each(|row| close((kernels.dot)(a, row), a, row)));
}

fn check_four(kernels: &Kernels) {
    check_pairs(|a, rows| {
        let sums = (kernels.dot_four)(a, rows);
        rows.into_iter().zip(sums).for_each(|(row, sum)| close(sum, a, row));
    });
}

fn check_products(kernels: &Kernels) {
    check_pairs(|a, [b, ..]| {
        let [product, of_a, of_b] = (kernels.products)(a, b);
        close(product, a, b);
        close(of_a, a, a);
        close(of_b, b, b);
    });
}

/// Within the error that the bounds of a search allow for.
fn close(sum: f32, a: &[f32], b: &[f32]) {
    let wide = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
    let exact: f64 = a.iter().zip(b).map(wide).sum();
    let size: f64 = a.iter().zip(b).map(|pair| wide(pair).abs()).sum();
    let allowed = crate::vector::slack::of_a_dot(a.len()) * size;
    let error = (f64::from(sum) - exact).abs();
    assert!(error <= allowed, "off by {error} at length {}, allowed {allowed}", a.len());
}

fn check_look_up(kernels: &Kernels) {
    let Some(look_up) = &kernels.look_up else { return };
    let rng = Rng::from_seed(6);
    for bytes in [1, 2, 3, 48, 192, 257] {
        let codes: Vec<Stripe> =
            (0..bytes).map(|_| Stripe([0; 32].map(|_| rng.below(256) as u8))).collect();
        let random: Vec<[u8; 32]> =
            (0..bytes).map(|_| [0; 32].map(|_| rng.below(128) as u8)).collect();
        let fullest = vec![[127; 32]; bytes];
        for tables in [&random, &fullest] {
            assert_eq!(
                (look_up.sums)(&codes, tables),
                naive_look_up(&codes, tables),
                "{bytes} bytes"
            );
        }
    }
}

fn naive_look_up(codes: &[Stripe], tables: &Tables) -> [u16; 32] {
    std::array::from_fn(|lane| {
        let worth = |(codes, tables): (&Stripe, &[u8; 32])| {
            let code = usize::from(codes.0[lane]);
            u16::from(tables[code & 15]) + u16::from(tables[16 + (code >> 4)])
        };
        codes.iter().zip(tables).map(worth).sum()
    })
}
