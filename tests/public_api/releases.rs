//! What released versions promised, and which version may take it back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use semver::Version;

/// Ends the line of what whoever implements the trait must write.
pub(crate) const REQUIRED: &str = " // required";

/// A version and its API, as `evenkeel-VERSION.txt` has it.
pub(crate) struct Release {
    pub(crate) version: Version,
    lines: BTreeSet<String>,
}

impl Release {
    /// The youngest on record in `folder`, if any version is released.
    pub(crate) fn last(folder: &Path) -> Option<Self> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter_map(|file| Self::read(&file)).max_by(|a, b| a.version.cmp(&b.version))
    }

    fn read(file: &Path) -> Option<Self> {
        let version =
            file.file_name()?.to_str()?.strip_prefix("evenkeel-")?.strip_suffix(".txt")?;
        let version = version.parse().unwrap_or_else(|error| panic!("{file:?}: {error}"));
        Some(Self::new(version, &fs::read_to_string(file).unwrap()))
    }

    fn new(version: Version, text: &str) -> Self {
        Self { version, lines: text.lines().map(str::to_owned).collect() }
    }

    /// The lines that break somebody's build: with a minus those that are gone or read otherwise now,
    /// with a plus those that implementations of a released trait lack.
    pub(crate) fn broken_by(&self, lines: &[String]) -> Vec<String> {
        let kept: BTreeSet<_> = lines.iter().map(|line| promise(line)).collect();
        let gone = self.lines.iter().filter(|line| !kept.contains(promise(line)));
        let asked = lines.iter().filter(|line| self.is_new_demand(line));
        gone.map(|line| format!("- {line}")).chain(asked.map(|line| format!("+ {line}"))).collect()
    }

    /// Whether `line` asks more of those who implement a trait than the release did.
    fn is_new_demand(&self, line: &str) -> bool {
        line.ends_with(REQUIRED) && !self.lines.contains(line) && self.has_trait_of(line)
    }

    fn has_trait_of(&self, line: &str) -> bool {
        let item = line.split(' ').find(|word| word.contains("::")).map(path);
        let of = item.and_then(|item| Some(item.rsplit_once("::")?.0));
        let declared = self.lines.iter().filter_map(|line| Some(line.split_once("trait ")?.1));
        declared.map(path).any(|declared| Some(declared) == of)
    }

    /// Whether `version` is one that Cargo does not take for compatible with this.
    pub(crate) fn may_be_broken_by(&self, version: &Version) -> bool {
        *version >= self.next_breaking()
    }

    pub(crate) fn next_breaking(&self) -> Version {
        match self.version {
            Version { major: 0, minor: 0, patch, .. } => Version::new(0, 0, patch + 1),
            Version { major: 0, minor, .. } => Version::new(0, minor + 1, 0),
            Version { major, .. } => Version::new(major + 1, 0, 0),
        }
    }
}

/// What a line promises to those who call. That they must implement it may be dropped at any time.
fn promise(line: &str) -> &str {
    line.strip_suffix(REQUIRED).unwrap_or(line)
}

/// The path that `text` starts with; bounds follow a path with `: `.
fn path(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    text[..end.unwrap_or(text.len())].trim_end_matches(':')
}

const RELEASED: &str = "\
pub fn evenkeel::Provider::id(&self) -> &str // required
pub fn evenkeel::Provider::stream(&self)
pub struct evenkeel::Call
pub trait evenkeel::Provider: core::marker::Send";

fn broken(now: &str) -> Vec<String> {
    let lines: Vec<_> = now.lines().map(str::to_owned).collect();
    Release::new(Version::new(0, 1, 0), RELEASED).broken_by(&lines)
}

#[test]
fn what_is_added_breaks_nobody() {
    let more = "pub fn evenkeel::Call::new()\npub fn evenkeel::Provider::close(&self)\n\
                pub trait evenkeel::Judge\npub fn evenkeel::Judge::judge(&self) // required";
    assert!(broken(&format!("{RELEASED}\n{more}")).is_empty());
}

#[test]
fn what_is_gone_or_reads_otherwise_breaks() {
    assert_eq!(broken(&RELEASED.replace("Call", "Cell")), ["- pub struct evenkeel::Call"]);
    let changed = RELEASED.replace("stream(&self)", "stream(self)");
    assert_eq!(broken(&changed), ["- pub fn evenkeel::Provider::stream(&self)"]);
}

#[test]
fn asking_more_of_a_released_trait_breaks_and_asking_less_does_not() {
    let asked = "pub fn evenkeel::Provider::close(&self) // required";
    assert_eq!(broken(&format!("{RELEASED}\n{asked}")), [format!("+ {asked}")]);
    let no_default = RELEASED.replace("stream(&self)", "stream(&self) // required");
    assert_eq!(broken(&no_default), ["+ pub fn evenkeel::Provider::stream(&self) // required"]);
    assert!(broken(&RELEASED.replace(REQUIRED, "")).is_empty());
}

#[test]
fn a_breaking_version_is_what_cargo_takes_for_one() {
    let next = |version: &str| Release::new(version.parse().unwrap(), "").next_breaking();
    assert_eq!(next("0.0.3"), Version::new(0, 0, 4));
    assert_eq!(next("0.1.3"), Version::new(0, 2, 0));
    assert_eq!(next("1.4.3"), Version::new(2, 0, 0));
    let first = Release::new(Version::new(0, 1, 0), "");
    assert!(first.may_be_broken_by(&Version::new(0, 2, 0)));
    assert!(!first.may_be_broken_by(&Version::new(0, 1, 9)));
}
