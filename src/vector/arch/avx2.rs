//! AVX2 and FMA: x86-64 processors since 2013.
//!
//! The dot product of two is the portable body, compiled for these features: the compiler reaches the
//! speed at which the first-level cache delivers. Four rows at once are written out, and looking up
//! bytes in a register has no safe spelling that compiles to the instruction.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_ps,
    _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_epi16,
};

use super::kernels::{Kernels, LookUp, Tables};
use crate::vector::bound::{Bound, Stripe, Traits};
use crate::vector::portable;

/// The kernels, if the processor has the instructions.
pub(super) fn avx2() -> Option<&'static Kernels> {
    let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    has_all.then_some(&AVX2)
}

/// Handed out where [`avx2`] saw the features alone; its functions are reached in no other way.
pub(super) static AVX2: Kernels = Kernels {
    name: "avx2",
    // SAFETY: whoever has the table got it from `avx2`, which saw the features.
    dot: |a, b| unsafe { dot(a, b) },
    // SAFETY: as above.
    dot_four: |a, rows| unsafe { dot_four(a, rows) },
    // SAFETY: as above.
    products: |a, b| unsafe { products(a, b) },
    // SAFETY: as above.
    hadamard: |vector| unsafe { hadamard(vector) },
    // SAFETY: as above.
    tables: |quarters, tables| unsafe { fill(quarters, tables) },
    look_up: Some(LookUp {
        // SAFETY: as above.
        sums: |codes, tables| unsafe { sums(codes, tables) },
        // SAFETY: as above.
        reaching: |codes, tables, bound, traits, floor| unsafe {
            reaching(codes, tables, bound, traits, floor)
        },
    }),
};

/// Eight registers of partial sums: up to two multiplications a cycle, each four cycles long.
#[target_feature(enable = "avx2,fma")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    portable::dot_in::<64, true>(a, b)
}

/// Two registers for each row; what is left of the sixteen holds the operands. Written out: the
/// compiler does not keep the sums of four rows in registers.
#[target_feature(enable = "avx2,fma")]
fn dot_four(a: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let (chunks, rest) = a.as_chunks::<16>();
    let [first, second, third, fourth] = rows;
    let first = first.as_chunks::<16>().0.iter();
    let others = second.as_chunks::<16>().0.iter().zip(third.as_chunks::<16>().0);
    let four = first.zip(others.zip(fourth.as_chunks::<16>().0));
    let mut sums = [[_mm256_setzero_ps(); 2]; 4];
    for (a, (first, ((second, third), fourth))) in chunks.iter().zip(four) {
        let a = load_floats(a);
        sums[0] = add_products(sums[0], a, first);
        sums[1] = add_products(sums[1], a, second);
        sums[2] = add_products(sums[2], a, third);
        sums[3] = add_products(sums[3], a, fourth);
    }
    let start = a.len() - rest.len();
    let mut products = [0.0; 4];
    for row in 0..4 {
        let whole = portable::total(store_floats(sums[row]));
        products[row] = whole + portable::short::<true>(rest, &rows[row][start..]);
    }
    products
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_products(sums: [__m256; 2], a: [__m256; 2], b: &[f32; 16]) -> [__m256; 2] {
    let b = load_floats(b);
    [_mm256_fmadd_ps(a[0], b[0], sums[0]), _mm256_fmadd_ps(a[1], b[1], sums[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(floats: &[f32; 16]) -> [__m256; 2] {
    let from = floats.as_ptr();
    // SAFETY: the reference is to 16 readable floats, and the instruction asks for no alignment.
    unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_floats(sums: [__m256; 2]) -> [f32; 8] {
    let mut floats = [0.0; 8];
    // SAFETY: there is room for 8 floats, and the instruction asks for no alignment.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), _mm256_add_ps(sums[0], sums[1])) };
    floats
}

#[target_feature(enable = "avx2,fma")]
fn products(a: &[f32], b: &[f32]) -> [f32; 3] {
    portable::products_in::<32, true>(a, b)
}

#[target_feature(enable = "avx2,fma")]
fn hadamard(vector: &mut [f32]) {
    portable::hadamard_in(vector);
}

#[target_feature(enable = "avx2,fma")]
fn fill(quarters: &[[f32; 4]], tables: &mut [[u8; 16]]) {
    portable::tables_in(quarters, tables);
}

#[target_feature(enable = "avx2,fma")]
fn reaching(codes: &[Stripe], tables: &Tables, bound: &Bound, traits: &Traits, floor: f32) -> u32 {
    bound.reaching(&sums(codes, tables), traits, floor)
}

/// Sums of even and of odd lanes are kept as 16 bits each. `all` adds up both at once, the odd ones
/// 256-fold; taking the odd ones away at the end leaves the even ones, modulo 2^16.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(codes: &[Stripe], tables: &Tables) -> [u16; 32] {
    let low_half = _mm256_set1_epi8(0x0f);
    let mut all = _mm256_setzero_si256();
    let mut odd = _mm256_setzero_si256();
    for (codes, tables) in codes.iter().zip(tables) {
        let codes = load(&codes.0);
        let low = _mm256_and_si256(codes, low_half);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low_half);
        let [first, second] = load_twice(tables);
        // Both are at most 127: their sum fits a byte.
        let worth =
            _mm256_add_epi8(_mm256_shuffle_epi8(first, low), _mm256_shuffle_epi8(second, high));
        all = _mm256_add_epi16(all, worth);
        odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(worth));
    }
    lanes(all, odd)
}

/// Each lane's sum, of `all` and `odd` as [`sums`] adds them up.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lanes(all: __m256i, odd: __m256i) -> [u16; 32] {
    let even = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd));
    interleave(store(even), store(odd))
}

#[inline(always)]
fn interleave(even: [u16; 16], odd: [u16; 16]) -> [u16; 32] {
    std::array::from_fn(|lane| if lane % 2 == 0 { even[lane / 2] } else { odd[lane / 2] })
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes, and the instruction asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>()) }
}

/// Each table in both halves of a register: the instruction looks up within halves.
#[inline]
#[target_feature(enable = "avx2")]
fn load_twice(tables: &[u8; 32]) -> [__m256i; 2] {
    let ([first, second], _) = tables.as_chunks::<16>() else { unreachable!("32 bytes") };
    [first, second].map(|table| {
        // SAFETY: the reference is to 16 readable bytes, and the instruction asks for no alignment.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast::<__m128i>()) };
        _mm256_broadcastsi128_si256(table)
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(lanes: __m256i) -> [u16; 16] {
    let mut words = [0_u16; 16];
    // SAFETY: the reference is to 32 writable bytes, and the instruction asks for no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast::<__m256i>(), lanes) };
    words
}
