//! Accounts as other instances know them: by a hash.

use std::fmt;

use highway::{HighwayHash, HighwayHasher, Key};

/// The secret that the instances have in common. The same name gives the same hash on all of them,
/// and nobody who reads the store can try names out.
pub(crate) struct Accounts {
    key: [u64; 4],
}

impl Accounts {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let (words, _) = secret.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        Self { key: std::array::from_fn(|_| words.next().unwrap_or_default()) }
    }

    /// What is kept about the account as a whole.
    pub(crate) fn account(&self, account: &str) -> u128 {
        self.hash(b"a", &[account])
    }

    /// What is kept about one of the backend's models; nothing where the provider decides which.
    pub(crate) fn model(&self, account: &str, upstream: Option<&str>) -> u128 {
        match upstream {
            Some(upstream) => self.hash(b"m", &[account, upstream]),
            None => self.hash(b"u", &[account]),
        }
    }

    /// Each part with its length: no two lists of parts give the same bytes.
    fn hash(&self, kind: &[u8; 1], parts: &[&str]) -> u128 {
        let mut hasher = HighwayHasher::new(Key(self.key));
        hasher.append(kind);
        for part in parts {
            hasher.append(&(part.len() as u64).to_le_bytes());
            hasher.append(part.as_bytes());
        }
        let [low, high] = hasher.finalize128();
        u128::from(high) << 64 | u128::from(low)
    }
}

/// Neither the secret nor what it could be found from.
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_models_and_secrets_are_told_apart_and_instances_agree() {
        let (one, other) = (Accounts::new([1; 32]), Accounts::new([2; 32]));
        let hashes = |accounts: &Accounts| {
            let mut hashes = vec![accounts.account("ab"), accounts.account("a")];
            for (account, model) in [("a", None), ("a", Some("b")), ("ab", Some("")), ("ab", None)]
            {
                hashes.push(accounts.model(account, model));
            }
            hashes
        };
        let mut all = [hashes(&one), hashes(&other)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
        assert_eq!(hashes(&Accounts::new([1; 32])), hashes(&one));
        // Instances of an older build must agree, too.
        let hash = 0x0b069f434839a8f60eeb09f425194dbc;
        assert_eq!(one.model("openai", Some("gpt")), hash);
    }

    #[test]
    fn every_byte_of_the_secret_counts() {
        let hash = |secret| Accounts::new(secret).account("a");
        for byte in 0..32 {
            let mut secret = [0; 32];
            secret[byte] = 1;
            assert_ne!(hash(secret), hash([0; 32]), "byte {byte}");
        }
    }
}
