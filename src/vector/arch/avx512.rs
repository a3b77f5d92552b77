//! AVX-512: x86-64 servers since 2017, and what AMD builds since 2022.
//!
//! A register holds 16 floats, or one byte each of the codes of 32 entries twice over. What is left of
//! a vector beyond whole registers is loaded under a mask, so that every length takes one loop. What
//! encodes an entry or prepares a query is compiled for AVX2 here too: it is no loop over entries.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, __mmask16, _mm_add_ps, _mm_storeu_ps, _mm256_add_epi16,
    _mm256_add_ps, _mm256_castpd_ps, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_hadd_ps,
    _mm512_add_epi8, _mm512_add_epi16, _mm512_add_ps, _mm512_and_si512, _mm512_castps_pd,
    _mm512_castps512_ps256, _mm512_castsi512_si256, _mm512_extractf64x4_pd,
    _mm512_extracti64x4_epi64, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_maskz_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_epi8, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi16,
};

use super::avx2;
use super::kernels::{Kernels, LookUp, Tables};
use crate::vector::bound::{Bound, Stripe, Traits};

/// The kernels, if the processor has the instructions.
pub(super) fn avx512() -> Option<&'static Kernels> {
    let has_all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && avx2::avx2().is_some();
    has_all.then_some(&AVX512)
}

/// Handed out by [`avx512`] alone, and its functions are reached in no other way.
static AVX512: Kernels = Kernels {
    name: "avx512",
    // SAFETY: whoever has the table got it from `avx512`, which saw the features.
    dot: |a, b| unsafe { dot(a, b) },
    // SAFETY: as above.
    dot_four: |a, rows| unsafe { dot_four(a, rows) },
    // SAFETY: as above.
    products: |a, b| unsafe { products(a, b) },
    hadamard: avx2::AVX2.hadamard,
    tables: avx2::AVX2.tables,
    look_up: Some(LookUp {
        // SAFETY: as above.
        sums: |codes, tables| unsafe { sums(codes, tables) },
        // SAFETY: as above.
        reaching: |codes, tables, bound, traits, floor| unsafe {
            reaching(codes, tables, bound, traits, floor)
        },
    }),
};

/// Floats in a register.
const WIDTH: usize = 16;

/// Four registers of partial sums: a multiplication takes four cycles, and one starts each cycle.
#[target_feature(enable = "avx512f")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_of_a), (b, rest_of_b)) =
        (a.as_chunks::<{ 4 * WIDTH }>(), b.as_chunks::<{ 4 * WIDTH }>());
    let mut sums = [_mm512_setzero_ps(); 4];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.as_chunks::<WIDTH>().0, b.as_chunks::<WIDTH>().0);
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = _mm512_fmadd_ps(load(a), load(b), *sum);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(rest_of_a.chunks(WIDTH).zip(rest_of_b.chunks(WIDTH))) {
        *sum = _mm512_fmadd_ps(load_some(a), load_some(b), *sum);
    }
    let [first, second, third, fourth] = sums;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(first, second), _mm512_add_ps(third, fourth)))
}

/// Two registers of sums for each row. Spelt out: the compiler does not keep the sums of a loop over
/// rows in registers.
#[target_feature(enable = "avx2,avx512f")]
fn dot_four(a: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let (chunks, rest) = a.as_chunks::<{ 2 * WIDTH }>();
    let [first, second, third, fourth] = rows;
    let first = first.as_chunks::<{ 2 * WIDTH }>().0.iter();
    let others = second.as_chunks::<{ 2 * WIDTH }>().0.iter().zip(third.as_chunks().0);
    let four = first.zip(others.zip(fourth.as_chunks::<{ 2 * WIDTH }>().0));
    let mut sums = [[_mm512_setzero_ps(); 2]; 4];
    for (a, (first, ((second, third), fourth))) in chunks.iter().zip(four) {
        let a = load_two(a);
        sums[0] = add_two(sums[0], a, load_two(first));
        sums[1] = add_two(sums[1], a, load_two(second));
        sums[2] = add_two(sums[2], a, load_two(third));
        sums[3] = add_two(sums[3], a, load_two(fourth));
    }
    if !rest.is_empty() {
        let (start, a) = (a.len() - rest.len(), load_rest(rest));
        sums[0] = add_two(sums[0], a, load_rest(&rows[0][start..]));
        sums[1] = add_two(sums[1], a, load_rest(&rows[1][start..]));
        sums[2] = add_two(sums[2], a, load_rest(&rows[2][start..]));
        sums[3] = add_two(sums[3], a, load_rest(&rows[3][start..]));
    }
    totals([
        _mm512_add_ps(sums[0][0], sums[0][1]),
        _mm512_add_ps(sums[1][0], sums[1][1]),
        _mm512_add_ps(sums[2][0], sums[2][1]),
        _mm512_add_ps(sums[3][0], sums[3][1]),
    ])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_two(sums: [__m512; 2], a: [__m512; 2], b: [__m512; 2]) -> [__m512; 2] {
    [_mm512_fmadd_ps(a[0], b[0], sums[0]), _mm512_fmadd_ps(a[1], b[1], sums[1])]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_two(floats: &[f32; 2 * WIDTH]) -> [__m512; 2] {
    let from = floats.as_ptr();
    // SAFETY: the reference is to 32 readable floats, and the instruction asks for no alignment.
    unsafe { [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(WIDTH))] }
}

/// Fewer than 32 floats; zeros fill both registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_rest(floats: &[f32]) -> [__m512; 2] {
    let (first, second) = floats.split_at(floats.len().min(WIDTH));
    [load_some(first), load_some(second)]
}

/// All four at once: each step halves what is left of all.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn totals(sums: [__m512; 4]) -> [f32; 4] {
    let [first, second] = [
        _mm256_hadd_ps(halved(sums[0]), halved(sums[1])),
        _mm256_hadd_ps(halved(sums[2]), halved(sums[3])),
    ];
    let both = _mm256_hadd_ps(first, second);
    let total = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps::<1>(both));
    let mut floats = [0.0; 4];
    // SAFETY: there is room for four floats, and the instruction asks for no alignment.
    unsafe { _mm_storeu_ps(floats.as_mut_ptr(), total) };
    floats
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn halved(sum: __m512) -> __m256 {
    let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum));
    _mm256_add_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(upper))
}

/// Two registers for each of three sums: more chains than the processor can keep busy.
#[target_feature(enable = "avx512f")]
fn products(a: &[f32], b: &[f32]) -> [f32; 3] {
    let ((a, rest_of_a), (b, rest_of_b)) =
        (a.as_chunks::<{ 2 * WIDTH }>(), b.as_chunks::<{ 2 * WIDTH }>());
    let mut sums = [[_mm512_setzero_ps(); 3]; 2];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.as_chunks::<WIDTH>().0, b.as_chunks::<WIDTH>().0);
        for (sums, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sums = add_products(*sums, load(a), load(b));
        }
    }
    let rests = rest_of_a.chunks(WIDTH).zip(rest_of_b.chunks(WIDTH));
    for (sums, (a, b)) in sums.iter_mut().zip(rests) {
        *sums = add_products(*sums, load_some(a), load_some(b));
    }
    let [even, odd] = sums;
    [
        _mm512_reduce_add_ps(_mm512_add_ps(even[0], odd[0])),
        _mm512_reduce_add_ps(_mm512_add_ps(even[1], odd[1])),
        _mm512_reduce_add_ps(_mm512_add_ps(even[2], odd[2])),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_products(sums: [__m512; 3], a: __m512, b: __m512) -> [__m512; 3] {
    [_mm512_fmadd_ps(a, b, sums[0]), _mm512_fmadd_ps(a, a, sums[1]), _mm512_fmadd_ps(b, b, sums[2])]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(floats: &[f32; WIDTH]) -> __m512 {
    // SAFETY: the reference is to 16 readable floats, and the instruction asks for no alignment.
    unsafe { _mm512_loadu_ps(floats.as_ptr()) }
}

/// Up to 16 floats; zeros fill the register.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_some(floats: &[f32]) -> __m512 {
    let count = floats.len().min(WIDTH);
    let mask = ((1_u32 << count) - 1) as __mmask16;
    // SAFETY: the mask has a bit for each readable float and no other, what it leaves out is not
    // read, and the instruction asks for no alignment.
    unsafe { _mm512_maskz_loadu_ps(mask, floats.as_ptr()) }
}

#[target_feature(enable = "avx2,fma,avx512f,avx512bw")]
fn reaching(codes: &[Stripe], tables: &Tables, bound: &Bound, traits: &Traits, floor: f32) -> u32 {
    bound.reaching(&sums(codes, tables), traits, floor)
}

/// As with AVX2, of two stripes at once.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn sums(codes: &[Stripe], tables: &Tables) -> [u16; 32] {
    let (pairs, last) = codes.as_chunks::<2>();
    let (pairs_of_tables, last_tables) = tables.as_chunks::<2>();
    let mut sums = [_mm512_setzero_si512(); 2];
    for (codes, tables) in pairs.iter().zip(pairs_of_tables) {
        sums = add_worth(sums, codes, tables);
    }
    if let ([codes], [tables]) = (last, last_tables) {
        // Beside a table of zeros any code is worth nothing.
        sums = add_worth(sums, &[*codes, *codes], &[*tables, [0; 32]]);
    }
    avx2::lanes(halves_added(sums[0]), halves_added(sums[1]))
}

/// Adds to `[all, odd]` what two stripes are worth.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_worth(
    [all, odd]: [__m512i; 2],
    codes: &[Stripe; 2],
    tables: &[[u8; 32]; 2],
) -> [__m512i; 2] {
    let low_half = _mm512_set1_epi8(0x0f);
    let codes = load_stripes(codes);
    let low = _mm512_and_si512(codes, low_half);
    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low_half);
    // The quarters are both halves of the first table, then of the second; each stripe wants one
    // half twice, for the instruction looks up within quarters.
    let tables = load_tables(tables);
    let first = _mm512_shuffle_i32x4::<0b10_10_00_00>(tables, tables);
    let second = _mm512_shuffle_i32x4::<0b11_11_01_01>(tables, tables);
    // Both are at most 127: their sum fits a byte.
    let worth = _mm512_add_epi8(_mm512_shuffle_epi8(first, low), _mm512_shuffle_epi8(second, high));
    [_mm512_add_epi16(all, worth), _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(worth))]
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn halves_added(sums: __m512i) -> __m256i {
    _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_stripes(stripes: &[Stripe; 2]) -> __m512i {
    // SAFETY: two stripes are 64 readable bytes, and the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(stripes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_tables(tables: &[[u8; 32]; 2]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(tables.as_ptr().cast()) }
}
