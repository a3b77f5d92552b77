//! What comparing and searching vectors is measured against: the textbook's way, and a careful one.

/// A cosine in three passes. Each sum is one chain of additions, which a compiler may not reorder.
#[inline(never)]
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let product: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let length_a = a.iter().map(|x| x * x).sum::<f32>().sqrt();
    let length_b = b.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length_a < 1e-8 || length_b < 1e-8 { 0.0 } else { product / (length_a * length_b) }
}

/// The textbook's cache: a vector and an answer for each entry, all compared on every look-up.
pub(crate) struct FuzzyCache {
    entries: Vec<(Vec<f32>, String)>,
    threshold: f32,
}

impl FuzzyCache {
    pub(crate) fn new(vectors: impl Iterator<Item = Vec<f32>>, threshold: f32) -> Self {
        let entries = vectors.map(|vector| (vector, "an answer".to_owned())).collect();
        Self { entries, threshold }
    }

    pub(crate) fn get(&self, query: &[f32]) -> Option<&str> {
        let similar = self.entries.iter().filter_map(|(vector, answer)| {
            let similarity = cosine(query, vector);
            (similarity >= self.threshold).then_some((similarity, answer.as_str()))
        });
        let best = similar.max_by(|a, b| a.0.partial_cmp(&b.0).expect("finite similarities"));
        best.map(|(_, answer)| answer)
    }
}

/// The vectors of all entries in one array, and a dot product with sixteen independent sums, which
/// the compiler turns into vector instructions: what plain Rust can do without a new idea.
pub(crate) struct FlatScan {
    vectors: Vec<f32>,
    dimensions: usize,
    threshold: f32,
}

impl FlatScan {
    pub(crate) fn new(
        vectors: impl Iterator<Item = Vec<f32>>,
        dimensions: usize,
        threshold: f32,
    ) -> Self {
        Self { vectors: vectors.flatten().collect(), dimensions, threshold }
    }

    pub(crate) fn best(&self, query: &[f32]) -> Option<(usize, f32)> {
        let mut best = None;
        let mut floor = self.threshold;
        for (at, vector) in self.vectors.chunks_exact(self.dimensions).enumerate() {
            let similarity = chunked_dot(query, vector);
            if similarity >= floor {
                (best, floor) = (Some((at, similarity)), similarity);
            }
        }
        best
    }
}

fn chunked_dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = rest_of_a.iter().zip(rest_of_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
