//! The kernels in safe Rust: independent partial sums, which the compiler keeps in vector registers.
//!
//! One running sum would have every addition wait for the one before. The bodies are generic in the
//! number of partial sums and in whether a product and its addition are one instruction, and are
//! inlined into the functions of each instruction set. They have no closures: one that is not inlined
//! is compiled for the lowest instruction set, where a fused product is a call into the C library.

/// Partial sums that fill eight of the sixteen 128-bit registers of x86-64, and as many of NEON.
const LANES: usize = 16;

/// See [`Kernels::dot`](super::arch::Kernels).
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_in::<LANES, false>(a, b)
}

/// See [`Kernels::dot_four`](super::arch::Kernels).
pub(super) fn dot_four(a: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    dot_four_in::<4, false>(a, rows)
}

/// See [`Kernels::products`](super::arch::Kernels).
pub(super) fn products(a: &[f32], b: &[f32]) -> [f32; 3] {
    products_in::<8, false>(a, b)
}

#[inline(always)]
pub(super) fn dot_in<const LANES: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] = add_product::<FUSED>(sums[lane], a[lane], b[lane]);
        }
    }
    total(sums) + short::<FUSED>(rest_of_a, rest_of_b)
}

#[inline(always)]
pub(super) fn dot_four_in<const LANES: usize, const FUSED: bool>(
    a: &[f32],
    rows: [&[f32]; 4],
) -> [f32; 4] {
    let (chunks, rest) = a.as_chunks::<LANES>();
    // As long as `a`, so that the compiler sees one length and checks no index in the loop.
    let [first, second, third, fourth] = rows;
    let cut = [
        &first.as_chunks::<LANES>().0[..chunks.len()],
        &second.as_chunks::<LANES>().0[..chunks.len()],
        &third.as_chunks::<LANES>().0[..chunks.len()],
        &fourth.as_chunks::<LANES>().0[..chunks.len()],
    ];
    let mut sums = [[0.0; LANES]; 4];
    for (at, a) in chunks.iter().enumerate() {
        for row in 0..4 {
            for lane in 0..LANES {
                sums[row][lane] =
                    add_product::<FUSED>(sums[row][lane], a[lane], cut[row][at][lane]);
            }
        }
    }
    let start = a.len() - rest.len();
    let mut products = [0.0; 4];
    for row in 0..4 {
        products[row] = total(sums[row]) + short::<FUSED>(rest, &rows[row][start..]);
    }
    products
}

/// `[a.b, a.a, b.b]`
#[inline(always)]
pub(super) fn products_in<const LANES: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> [f32; 3] {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [[0.0; LANES]; 3];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[0][lane] = add_product::<FUSED>(sums[0][lane], a[lane], b[lane]);
            sums[1][lane] = add_product::<FUSED>(sums[1][lane], a[lane], a[lane]);
            sums[2][lane] = add_product::<FUSED>(sums[2][lane], b[lane], b[lane]);
        }
    }
    let rests = [(rest_of_a, rest_of_b), (rest_of_a, rest_of_a), (rest_of_b, rest_of_b)];
    let mut products = [0.0; 3];
    for of in 0..3 {
        products[of] = total(sums[of]) + short::<FUSED>(rests[of].0, rests[of].1);
    }
    products
}

/// What is left over by a larger number of lanes: eight at a time, then one by one.
#[inline(always)]
pub(super) fn short<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    if a.is_empty() {
        return 0.0;
    }
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] = add_product::<FUSED>(sums[lane], a[lane], b[lane]);
        }
    }
    let mut sum = total(sums);
    for (&a, &b) in rest_of_a.iter().zip(rest_of_b) {
        sum = add_product::<FUSED>(sum, a, b);
    }
    sum
}

/// Fused only where the instruction exists: elsewhere `mul_add` is a call into the C library.
#[inline(always)]
fn add_product<const FUSED: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { sum + a * b }
}

/// Halves until one is left: as many dependent additions as the logarithm of `LANES`.
#[inline(always)]
pub(super) fn total<const LANES: usize>(mut sums: [f32; LANES]) -> f32 {
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        for lane in 0..left {
            sums[lane] += sums[left + lane];
        }
    }
    sums[0]
}

/// See [`Kernels::hadamard`](super::arch::Kernels).
pub(super) fn hadamard(vector: &mut [f32]) {
    hadamard_in(vector);
}

#[inline(always)]
pub(super) fn hadamard_in(vector: &mut [f32]) {
    let mut half = 1;
    // Short distances within one register's worth at a time, so that each is loaded once.
    if vector.len() >= 8 {
        vector.as_chunks_mut::<8>().0.iter_mut().for_each(hadamard_of_eight);
        half = 8;
    }
    while half < vector.len() {
        for pair in vector.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (left, right) in left.iter_mut().zip(right) {
                (*left, *right) = (*left + *right, *left - *right);
            }
        }
        half *= 2;
    }
}

#[inline(always)]
fn hadamard_of_eight(v: &mut [f32; 8]) {
    let [a, b, c, d, e, f, g, h] = *v;
    let [a, b, c, d, e, f, g, h] = [a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h];
    let [a, b, c, d, e, f, g, h] = [a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h];
    *v = [a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h];
}

/// See [`Kernels::tables`](super::arch::Kernels).
pub(super) fn tables(quarters: &[[f32; 4]], tables: &mut [[u8; 16]]) {
    tables_in(quarters, tables);
}

#[inline(always)]
pub(super) fn tables_in(quarters: &[[f32; 4]], tables: &mut [[u8; 16]]) {
    for (z, table) in quarters.iter().zip(tables) {
        let size: f32 = z[0].abs() + z[1].abs() + z[2].abs() + z[3].abs();
        let worth: [f32; 16] = std::array::from_fn(|signs| {
            let signed = |bit: usize| if signs >> bit & 1 == 1 { z[bit] } else { -z[bit] };
            size + ((signed(0) + signed(1)) + (signed(2) + signed(3)))
        });
        // Adding 2^23 leaves no bits for a fraction: the lowest byte is the nearest whole number.
        *table = worth.map(|worth| (worth + 8_388_608.0).to_bits() as u8);
    }
}
