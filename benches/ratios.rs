//! The crate beside its peers: `cargo bench --bench ratios`, with `-- --quick` for a short run.
//!
//! The comparison is a crate of its own (benches/peers), so that no peer becomes a dependency. This
//! program builds it, runs it with the arguments it was given, and ends as it ended.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Cargo passes this when it benches. Without it we are being tested, which must stay short.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run with `cargo bench --bench ratios`");
        return ExitCode::SUCCESS;
    }
    match cargo("build", &[]) {
        Ok(0) => {}
        Ok(_) => return fail("it did not build (a first build needs the package registry)"),
        Err(e) => return fail(&format!("cargo did not start: {e}")),
    }
    match cargo("run", &arguments) {
        Ok(status) => ExitCode::from(status),
        Err(e) => fail(&format!("cargo did not start: {e}")),
    }
}

/// Runs `cargo <command>` on the comparison crate and gives its exit status.
fn cargo(command: &str, arguments: &[String]) -> std::io::Result<u8> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([command, "--quiet", "--release", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir())
        .args((!arguments.is_empty()).then_some("--"))
        .args(arguments)
        .status()?;
    // No code means a signal; whatever it was, it was no success.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Beside the package's own build products, so that nothing is left among the sources.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers")
}

fn fail(why: &str) -> ExitCode {
    eprintln!("ratios: the comparison under benches/peers could not run: {why}");
    ExitCode::FAILURE
}
