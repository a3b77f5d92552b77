//! A queue whose links lie beside the places of a slab: removal from its middle is constant.

/// No place.
const NONE: u32 = u32::MAX;

/// A place's neighbours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    newer: u32,
    older: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { newer: NONE, older: NONE }
    }
}

/// A slab whose places have a link.
pub(super) trait Linked {
    fn link(&mut self, place: u32) -> &mut Link;
}

impl Linked for Vec<Link> {
    fn link(&mut self, place: u32) -> &mut Link {
        &mut self[place as usize]
    }
}

/// First in, first out. A place must be in at most one chain of its slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    newest: u32,
    oldest: u32,
    len: usize,
}

impl Default for Chain {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE, len: 0 }
    }
}

impl Chain {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(super) fn push(&mut self, slab: &mut impl Linked, place: u32) {
        *slab.link(place) = Link { newer: NONE, older: self.newest };
        match self.newest {
            NONE => self.oldest = place,
            second => slab.link(second).newer = place,
        }
        self.newest = place;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, slab: &mut impl Linked, place: u32) {
        let Link { newer, older } = std::mem::take(slab.link(place));
        match newer {
            NONE => self.newest = older,
            newer => slab.link(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => slab.link(older).newer = newer,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    proptest::proptest! {
        #[test]
        fn a_chain_is_a_queue_with_removal(steps in proptest::collection::vec((0u32..12, proptest::bool::ANY), 0..200)) {
            let mut slab = vec![Link::default(); 12];
            let (mut chain, mut model) = (Chain::default(), VecDeque::new());
            for (place, add) in steps {
                match (model.contains(&place), add) {
                    (false, true) => {
                        chain.push(&mut slab, place);
                        model.push_back(place);
                    }
                    (true, false) => {
                        chain.remove(&mut slab, place);
                        model.retain(|at| *at != place);
                    }
                    _ => {}
                }
                proptest::prop_assert_eq!(chain.len(), model.len());
                proptest::prop_assert_eq!(chain.oldest(), model.front().copied());
            }
        }
    }
}
