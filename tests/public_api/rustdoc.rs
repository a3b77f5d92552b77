//! The public API as rustdoc describes it, a line for each item.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use public_api::{Builder, PublicItem};
use rustdoc_types::{Crate, FORMAT_VERSION, ItemEnum};
use semver::Version;

use crate::releases::REQUIRED;

/// Traits that the compiler gives and takes as fields change, and that nobody asks of a client: their
/// lines would say more about the compiler than about the crate.
const UNNAMED: &[&str] = &[
    "core::marker::Freeze",
    "core::marker::StructuralPartialEq",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// The crate as it is in the tree.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) version: Version,
    pub(crate) lines: Vec<String>,
}

/// Documents the crate, once for all tests.
///
/// # Panics
///
/// Panics where the API cannot be told: a check that did not compare must not pass.
pub(crate) fn api() -> Api {
    static API: LazyLock<Api> = LazyLock::new(|| Api::read(&document()));
    API.clone()
}

impl Api {
    fn read(json: &Path) -> Self {
        let text = fs::read_to_string(json).expect("rustdoc has written it");
        expect_format(&text);
        let described: Crate = serde_json::from_str(&text).expect("the format is the known one");
        let items = Builder::from_rustdoc_json(json).omit_blanket_impls(true).build();
        let items = items.expect("the format is the known one").into_items();
        let version = described.crate_version.as_deref().expect("the crate has a version");
        let mut lines: Vec<_> = items.map(|item| line(&item, &described)).collect();
        lines.retain(|line| !UNNAMED.iter().any(|name| line.contains(&format!("{name} for "))));
        lines.sort();
        lines.dedup();
        Self { version: version.parse().expect("cargo has read it"), lines }
    }
}

fn line(item: &PublicItem, described: &Crate) -> String {
    // Only in traits is anything declared without being given.
    let required = described.index.get(&item.id()).is_some_and(|item| match &item.inner {
        ItemEnum::Function(function) => !function.has_body,
        ItemEnum::AssocConst { value, .. } => value.is_none(),
        ItemEnum::AssocType { type_, .. } => type_.is_none(),
        _ => false,
    });
    format!("{item}{}", if required { REQUIRED } else { "" })
}

fn expect_format(json: &str) {
    let any: serde_json::Value = serde_json::from_str(json).expect("rustdoc writes JSON");
    let found = &any["format_version"];
    assert!(
        *found == FORMAT_VERSION,
        "\n\nTHE PUBLIC API WAS NOT COMPARED: {} writes format {found} of rustdoc's JSON, and this \
         check reads {FORMAT_VERSION}.\nInstall rustup, which gets the compiler that \
         tests/public_api/rust-toolchain.toml names.\n",
        compiler(cargo())
    );
}

/// Runs rustdoc, and says where its description is.
fn document() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = folder.join("../..").canonicalize().expect("the crate is two folders up");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let mut cargo = cargo();
    cargo.env("RUSTDOC", folder.join("rustdoc.sh")).env_remove("RUSTDOCFLAGS");
    cargo.args(["rustdoc", "--quiet", "--lib", "--all-features"]);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&target);
    cargo.args(["--", "-Zunstable-options", "--output-format=json", "--cap-lints=allow"]);
    run(&mut cargo);
    target.join("doc/evenkeel.json")
}

/// The cargo of the pinned compiler: the one in use if it is that, else rustup's.
fn cargo() -> Command {
    let pinned = include_str!("rust-toolchain.toml").split('"').nth(1);
    let mut cargo = Command::new("cargo");
    if compiler(Command::new("rustc")).split(' ').nth(1) != pinned {
        // There rustup reads rust-toolchain.toml, unless it is told otherwise.
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUSTUP_TOOLCHAIN");
    }
    cargo
}

fn compiler(mut command: Command) -> String {
    String::from_utf8_lossy(&run(command.arg("--version")).stdout).trim().to_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "\n\nTHE PUBLIC API WAS NOT COMPARED: {command:?} failed.\n\n{}\n",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
