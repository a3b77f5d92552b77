//! Serves one configuration file until it is told to stop.

use std::io::{Error, Write as _};
use std::process::ExitCode;

use evenkeel_gateway::gateway::Gateway;
use evenkeel_gateway::settings;
use evenkeel_gateway::telemetry::Telemetry;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(cut_off) => {
            eprintln!("stopped; {cut_off} calls were cut off");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("evenkeel-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<usize, Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: evenkeel-gateway CONFIGURATION.toml")?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let (settings, config) = settings::parse(&text).map_err(|error| format!("{path}: {error}"))?;
    let listener = TcpListener::bind(settings.listen).await?;
    let telemetry = Telemetry::install(&settings)?;
    let client = config.assemble().builder()?.observer(telemetry.observer()).build()?;
    let gateway = Gateway::new(settings, client, telemetry, |name| std::env::var(name).ok())?;
    // One line for whoever started it on port 0; a closed pipe is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?);
    Ok(gateway.serve(listener, stop()?).await?)
}

/// Resolves at the first signal to stop.
fn stop() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
