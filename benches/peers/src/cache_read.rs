//! The physical limit of comparing vectors: reading them.

/// Reads every byte of `a` and `b` with the widest loads that are common, and does next to nothing
/// with them.
pub(crate) fn read(a: &[f32], b: &[f32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was detected.
        return unsafe { read_avx2(a) ^ read_avx2(b) };
    }
    let fold = |vector: &[f32]| vector.iter().fold(0, |bits, x| bits | x.to_bits());
    fold(a) ^ fold(b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_avx2(vector: &[f32]) -> u32 {
    let (chunks, _) = vector.as_chunks::<64>();
    let mut bits = [0_u32; 64];
    for chunk in chunks {
        for (bits, x) in bits.iter_mut().zip(chunk) {
            *bits |= x.to_bits();
        }
    }
    bits.into_iter().fold(0, |all, bits| all | bits)
}
