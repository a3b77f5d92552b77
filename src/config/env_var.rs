//! The name of an environment variable that holds a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(any(feature = "__http", feature = "redis"))]
use crate::{config::wires::Env, error::BuildError};

/// Longer names are not used; longer keys are.
const LONGEST: usize = 128;

/// The name of an environment variable that holds a secret: capital letters, digits and underscores,
/// not beginning with a digit.
///
/// Nothing else is taken, for what else stands here is a secret that was put into a file by mistake.
/// No error repeats it.
///
/// ```
/// use evenkeel::config::EnvVar;
///
/// assert_eq!(EnvVar::new("OPENAI_API_KEY")?.as_str(), "OPENAI_API_KEY");
/// assert!(EnvVar::new("sk-0123456789abcdef").is_err());
/// # Ok::<(), evenkeel::config::NotAnEnvVar>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvVar(String);

/// A text that is no name of an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the name of an environment variable, in capital letters, digits and underscores; a \
     secret does not belong in a file"
)]
#[non_exhaustive]
pub struct NotAnEnvVar;

impl EnvVar {
    /// The variable `name`.
    ///
    /// # Errors
    /// When it is no name of one.
    pub fn new(name: impl Into<String>) -> Result<Self, NotAnEnvVar> {
        let name = name.into();
        let letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        let begins = name.bytes().next().is_some_and(letter);
        let goes_on = name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit());
        (begins && goes_on && name.len() <= LONGEST).then_some(Self(name)).ok_or(NotAnEnvVar)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the variable holds, for the field at `path`.
    #[cfg(any(feature = "__http", feature = "redis"))]
    pub(super) fn secret(&self, path: &str, env: Env<'_>) -> Result<String, BuildError> {
        let value = env(self.as_str()).filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            let reason = format!("the environment variable {} is not set", self.as_str());
            BuildError::new(path.to_owned(), reason)
        })
    }
}

impl TryFrom<String> for EnvVar {
    type Error = NotAnEnvVar;

    fn try_from(name: String) -> Result<Self, NotAnEnvVar> {
        Self::new(name)
    }
}

impl From<EnvVar> for String {
    fn from(EnvVar(name): EnvVar) -> Self {
        name
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_refused_and_not_repeated() {
        for key in ["sk-ant-0123", "AIzaSyA-0", "", "0ABC", "gsk_abcDEF", "A B", "\u{c4}"] {
            let error = EnvVar::new(key).unwrap_err().to_string();
            assert!(key.is_empty() || !error.contains(key), "{error}");
        }
        assert!(EnvVar::new("A".repeat(LONGEST + 1)).is_err());
        assert_eq!(format!("{:?}", EnvVar::new("_KEY_2").unwrap()), "$_KEY_2");
    }
}
