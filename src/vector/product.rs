//! Products of two vectors whose origin is not known.

use crate::embed::InvalidVector;
use crate::vector::arch::kernels;
use crate::vector::error::VectorError;

/// The dot product: of two unit vectors, their cosine.
///
/// The error is that of `f32` additions in some hundred independent steps: below 1e-6 times the
/// product of the lengths at 1536 dimensions. The last bits depend on the instruction set.
///
/// Checking costs nothing: a coordinate that is not finite makes the sum not finite, and only then
/// is it looked for.
///
/// # Errors
/// When the lengths differ, when the vectors are empty, when a coordinate is not finite (its
/// position is named), and when the result does not fit an `f32`.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> Result<f32, VectorError> {
    comparable(a, b)?;
    let sum = (kernels().dot)(a, b);
    if sum.is_finite() { Ok(sum) } else { large_dot(a, b) }
}

/// The dot products of `a` with each of four rows. Every load of `a` serves all four, which takes
/// less time than four of [`dot`] as long as the rows come from a cache; their last bits may differ.
///
/// # Errors
/// As [`dot`], naming the first row it finds fault with as the second vector.
pub fn dot_four(a: &[f32], rows: [&[f32]; 4]) -> Result<[f32; 4], VectorError> {
    rows.into_iter().try_for_each(|row| comparable(a, row))?;
    let sums = (kernels().dot_four)(a, rows);
    if sums.into_iter().all(f32::is_finite) { Ok(sums) } else { large_dots(a, rows) }
}

/// The cosine of the angle between two vectors of any length, between -1 and 1. One pass.
///
/// # Errors
/// As [`dot`]; and when a vector is zero, which has no direction.
#[inline]
pub fn cosine(a: &[f32], b: &[f32]) -> Result<f32, VectorError> {
    comparable(a, b)?;
    let [product, of_a, of_b] = (kernels().products)(a, b);
    let squares = of_a * of_b;
    // Below, squares may have been lost on the way; above, something overflowed or was not finite.
    if of_a > SAFE_SQUARE && of_b > SAFE_SQUARE && squares.is_finite() {
        Ok((product / squares.sqrt()).clamp(-1.0, 1.0))
    } else {
        careful_cosine(a, b)
    }
}

/// A sum of squares this large has lost nothing that counts to underflow: the smallest normal `f32`
/// is 2^-126, and 2^16 coordinates whose squares vanish below it add up to 2^-110. The product of
/// two such sums is a normal number.
const SAFE_SQUARE: f32 = 1e-18;

#[inline]
fn comparable(a: &[f32], b: &[f32]) -> Result<(), VectorError> {
    match (a.len(), b.len()) {
        (left, right) if left != right => Err(VectorError::Lengths { left, right }),
        (0, _) => Err(VectorError::Left(InvalidVector::Empty)),
        _ => Ok(()),
    }
}

/// What was not finite, or the product in the range of `f64`.
#[cold]
fn large_dot(a: &[f32], b: &[f32]) -> Result<f32, VectorError> {
    finite(a).map_err(VectorError::Left)?;
    finite(b).map_err(VectorError::Right)?;
    let sum = wide_dot(a, b) as f32;
    if sum.is_finite() { Ok(sum) } else { Err(VectorError::Overflow) }
}

#[cold]
fn large_dots(a: &[f32], rows: [&[f32]; 4]) -> Result<[f32; 4], VectorError> {
    let [first, second, third, fourth] = rows.map(|row| large_dot(a, row));
    Ok([first?, second?, third?, fourth?])
}

/// In `f64` no square of an `f32` overflows or vanishes.
#[cold]
fn careful_cosine(a: &[f32], b: &[f32]) -> Result<f32, VectorError> {
    let left = length(a).map_err(VectorError::Left)?;
    let right = length(b).map_err(VectorError::Right)?;
    Ok((wide_dot(a, b) / (left * right)).clamp(-1.0, 1.0) as f32)
}

fn length(vector: &[f32]) -> Result<f64, InvalidVector> {
    finite(vector)?;
    match wide_dot(vector, vector) {
        0.0 => Err(InvalidVector::Zero),
        square => Ok(square.sqrt()),
    }
}

fn finite(vector: &[f32]) -> Result<(), InvalidVector> {
    match vector.iter().position(|x| !x.is_finite()) {
        Some(position) => Err(InvalidVector::NotFinite { position }),
        None => Ok(()),
    }
}

fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_refuse_what_is_no_pair_of_vectors() {
        for of in [dot, cosine] {
            assert_eq!(of(&[1.0; 3], &[1.0; 4]), Err(VectorError::Lengths { left: 3, right: 4 }));
            assert_eq!(of(&[], &[]), Err(VectorError::Left(InvalidVector::Empty)));
        }
    }

    #[test]
    fn a_coordinate_that_is_not_finite_is_named_wherever_it_stands() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for position in [0, 7, 63, 64, 99] {
                let mut vector = [0.0; 100];
                vector[position] = bad;
                // Zeros beside it: infinity times zero must not pass for a number.
                let good = [0.0; 100];
                let named = InvalidVector::NotFinite { position };
                assert_eq!(dot(&vector, &good), Err(VectorError::Left(named)));
                assert_eq!(dot(&good, &vector), Err(VectorError::Right(named)));
                assert_eq!(cosine(&vector, &[1.0; 100]), Err(VectorError::Left(named)));
                assert_eq!(cosine(&[1.0; 100], &vector), Err(VectorError::Right(named)));
            }
        }
    }

    #[test]
    fn four_rows_are_four_dot_products() {
        let rows = [[1.0_f32, 2.0], [0.0, 1.0], [-1.0, 0.0], [3.0, 4.0]];
        let [a, b, c, d] = rows.each_ref().map(|row| row.as_slice());
        assert_eq!(dot_four(&[1.0, 10.0], [a, b, c, d]), Ok([21.0, 10.0, -1.0, 43.0]));
        let short = Err(VectorError::Lengths { left: 2, right: 1 });
        assert_eq!(dot_four(&[1.0, 10.0], [a, b, &c[1..], d]), short);
        let infinite = Err(VectorError::Right(InvalidVector::NotFinite { position: 1 }));
        assert_eq!(dot_four(&[1.0, 10.0], [a, b, &[1.0, f32::INFINITY], d]), infinite);
        assert_eq!(dot_four(&[f32::MAX; 2], [a, b, c, &[2.0, 2.0]]), Err(VectorError::Overflow));
    }

    #[test]
    fn zero_has_no_direction_but_a_product() {
        assert_eq!(dot(&[0.0, 0.0], &[1.0, 0.0]), Ok(0.0));
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), Err(VectorError::Left(InvalidVector::Zero)));
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, -0.0]), Err(VectorError::Right(InvalidVector::Zero)));
    }

    #[test]
    fn the_range_of_a_cosine_is_that_of_its_operands() {
        for scale in [1e-44, 1e-30, 1e-12, 1.0, 1e18, 1e38] {
            let (a, b) = ([3.0 * scale, 0.0], [1.5 * scale, 1.5 * scale]);
            let cosine = cosine(&a, &b).unwrap();
            assert!((cosine - 0.5_f32.sqrt()).abs() < 1e-6, "{cosine} at {scale}");
        }
    }

    #[test]
    fn a_product_that_only_passes_through_infinity_is_found() {
        assert_eq!(dot(&[f32::MAX, f32::MAX], &[2.0, -2.0]), Ok(0.0));
        assert_eq!(dot(&[f32::MAX], &[2.0]), Err(VectorError::Overflow));
    }

    #[test]
    fn a_cosine_never_leaves_its_interval() {
        for dimensions in 1..200 {
            let vector: Vec<f32> = (0..dimensions).map(|i| (i as f32).sin() + 0.1).collect();
            let opposite: Vec<f32> = vector.iter().map(|x| -x).collect();
            assert!(cosine(&vector, &vector).unwrap() <= 1.0);
            assert!(cosine(&vector, &opposite).unwrap() >= -1.0);
        }
    }
}
