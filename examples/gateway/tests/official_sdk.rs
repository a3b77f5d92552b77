//! OpenAI's own Python client against the gateway, whose upstream is aimock: both of other people's
//! making. The gateway is the program itself, with a file, a port and a signal to stop.
//!
//! `bash tests/run.sh` installs both and says where they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const KEY: &str = "key-of-acme";

#[test]
fn the_official_client_is_served() {
    let python = tool("EVENKEEL_SDK_PYTHON");
    let aimock = Server::start(
        Command::new(tool("EVENKEEL_AIMOCK"))
            .args(["--port", "0", "--host", "127.0.0.1", "--strict", "--fixtures"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire/aimock.json")),
    );
    let gateway = gateway_over(&aimock);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/official_sdk.py");
    let url = format!("{}/v1", gateway.address);
    let output = Command::new(python).args([script, &url, KEY]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{failed}");
    assert_eq!(said.matches("ok ").count(), 10, "{said}");

    assert!(gateway.stopped(), "the gateway stops in good order when it is told to");
}

fn gateway_over(aimock: &Server) -> Server {
    let file = format!(
        r#"
        gateway.listen = "127.0.0.1:0"
        gateway.tenants = [{{ name = "acme", api_key_env = "ACME_KEY" }}]
        providers.openai = {{ kind = "openai", base_url = "{0}/v1", api_key_env = "UPSTREAM_KEY" }}
        providers.claude = {{ kind = "anthropic", base_url = "{0}", api_key_env = "UPSTREAM_KEY" }}
        retry.max_attempts = 1
        balancer.endpoints = [
            {{ provider = "openai", models = {{ smart = "gpt-4o" }} }},
            {{ provider = "openai", id = "limited", models = {{ limited = "gpt-4o" }} }},
            {{ provider = "claude", models = {{ claude = "claude-sonnet-4-5" }} }},
        ]
        "#,
        aimock.address
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official_sdk.toml");
    std::fs::write(&path, file).unwrap();
    Server::start(
        Command::new(env!("CARGO_BIN_EXE_evenkeel-gateway"))
            .arg(path)
            .env("ACME_KEY", KEY)
            .env("UPSTREAM_KEY", "sk-test-aimock"),
    )
}

fn tool(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.filter(|path| path.exists());
    path.unwrap_or_else(|| {
        panic!("{variable} names no program: run `bash tests/run.sh`, which installs it")
    })
}

/// A running server, which has said where it listens. It is killed if it still runs in the end.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // To the end, so that the server never waits for a reader.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let _ = tell.send(address.trim().to_owned());
                }
            }
        });
        let mut server = Self { child, address: String::new() };
        server.address =
            told.recv_timeout(Duration::from_secs(30)).expect("it says where it listens");
        server
    }

    /// Tells it to stop, and whether it did so by itself.
    fn stopped(mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
