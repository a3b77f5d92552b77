//! What things are called on the server.
//!
//! | key | holds |
//! |---|---|
//! | `<prefix>:q:{<scope>}` | a scope of quotas |
//! | `<prefix>:i` | the instances that live |
//! | `<prefix>:a:{<request>}` | a sealed answer |
//! | `<prefix>:l:{<request>}` | who leads on it |
//! | `<prefix>:{e}:<label>` | the epoch of a label |
//! | `<prefix>:f` | facts about accounts |
//!
//! Names are hashed with the secret, so that they tell nothing, and written in 64 letters, so that none
//! holds a brace: what stands in braces decides the slot of a cluster.

use crate::cache::shared::SharedKey;
use crate::stores::envelope::Sealer;

/// Names for what one service keeps.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    sealer: Sealer,
}

impl Keys {
    pub(super) const fn new(prefix: String, sealer: Sealer) -> Self {
        Self { prefix, sealer }
    }

    /// Of a scope of quotas. Those that agree up to the first slash have their slot in common.
    pub(super) fn quota(&self, scope: &str) -> String {
        let tag = scope.split('/').next().unwrap_or(scope);
        let mut key = format!("{}:q:{{{}}}", self.prefix, self.name("slot", tag));
        if tag.len() < scope.len() {
            key.push_str(&self.name("quota", scope));
        }
        key
    }

    pub(super) fn instances(&self) -> String {
        format!("{}:i", self.prefix)
    }

    /// Of an answer. The caller's key is a hash already.
    pub(super) fn answer(&self, key: &SharedKey) -> String {
        format!("{}:a:{{{}}}", self.prefix, request(key))
    }

    /// Of the lead on an answer, in its slot.
    pub(super) fn lead(&self, key: &SharedKey) -> String {
        format!("{}:l:{{{}}}", self.prefix, request(key))
    }

    /// Of a label's epoch, all of them in one slot.
    pub(super) fn label(&self, label: u128) -> String {
        format!("{}:{{e}}:{}", self.prefix, letters(&label.to_be_bytes()))
    }

    pub(super) fn facts(&self) -> String {
        format!("{}:f", self.prefix)
    }

    pub(super) const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// 96 bits: among a million names two meet with a probability of 10^-17.
    fn name(&self, kind: &str, whose: &str) -> String {
        let [name @ .., _, _, _, _] = self.sealer.name(kind, whose.as_bytes());
        letters(&name[..12])
    }
}

/// What decides the slot of a key.
pub(super) fn tag(key: &str) -> &str {
    let inside = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    inside.map_or(key, |(tag, _)| tag)
}

fn request(key: &SharedKey) -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&key.scope.to_be_bytes());
    bytes[16..].copy_from_slice(&key.exact.to_be_bytes());
    letters(&bytes)
}

/// Base64 as in URLs: four letters for three bytes, and for what is left over as many as it needs.
fn letters(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sixes = bytes.chunks(3).flat_map(|three| {
        let at = |at: usize| three.get(at).copied().unwrap_or(0);
        let word = u32::from_be_bytes([0, at(0), at(1), at(2)]);
        [18, 12, 6, 0].into_iter().take(three.len() + 1).map(move |shift| word >> shift & 63)
    });
    sixes.map(|six| char::from(LETTERS[six as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("ek".into(), Sealer::new(b"secret"))
    }

    #[test]
    fn letters_are_base64() {
        assert_eq!(letters(b"Man"), "TWFu");
        assert_eq!(letters(b"light w"), "bGlnaHQgdw");
        assert_eq!(letters(&[0xff, 0xff, 0xfe, 0, 1]), "___-AAE");
    }

    #[test]
    fn scopes_of_one_tenant_share_a_slot_and_nothing_else() {
        let (tenant, model) = (keys().quota("acme"), keys().quota("acme/large"));
        assert_ne!(tenant, model);
        assert_eq!(tag(&tenant), tag(&model));
        assert_ne!(tag(&tenant), tag(&keys().quota("other")));
        assert_ne!(keys().quota("acme/"), tenant);
    }

    #[test]
    fn no_name_is_seen_and_none_breaks_out_of_its_braces() {
        for name in ["acme", "}{", "", "{a}", "}\r\n"] {
            let key = keys().quota(name);
            assert!(!key.contains("acme"));
            assert_eq!(key.len(), "ek:q:{}".len() + 16, "{key}");
            assert_eq!(key.matches(['{', '}', '\r']).count(), 2, "{key}");
        }
    }
}
