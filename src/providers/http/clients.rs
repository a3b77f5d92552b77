//! The HTTP clients of one transport, one for each connect timeout in use.

use std::time::Duration;

use parking_lot::Mutex;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};

/// How many connect timeouts have a client, and with it a connection pool, of their own.
const MOST: usize = 4;

/// More redirects than this inside one origin are a loop.
const MAX_REDIRECTS: usize = 3;

/// Builds and keeps clients.
///
/// reqwest sets the connect timeout for a whole client. The first four timeouts that are asked for
/// are kept exactly; a further one shares the client whose timeout is the next longer, so that a
/// caller with many timeouts cannot make every request pay for a new pool.
#[derive(Debug)]
pub(crate) struct Clients {
    through_proxy: bool,
    built: Mutex<Vec<(Duration, Client)>>,
}

impl Clients {
    /// Clients for servers at `base`. What is on this machine is never asked through a proxy.
    pub(crate) fn new(base: &Url) -> Self {
        Self { through_proxy: !is_loopback(base), built: Mutex::new(Vec::new()) }
    }

    /// The client that connects within `timeout`, built when it is first asked for.
    pub(crate) fn get(&self, timeout: Duration) -> Result<Client, reqwest::Error> {
        let mut built = self.built.lock();
        if let Some(client) = pick(&built, timeout) {
            return Ok(client);
        }
        let client = build(timeout, self.through_proxy)?;
        built.push((timeout, client.clone()));
        Ok(client)
    }
}

fn pick(built: &[(Duration, Client)], timeout: Duration) -> Option<Client> {
    let exact = built.iter().find(|(of, _)| *of == timeout);
    let full = || (built.len() >= MOST).then_some(());
    let longer = || built.iter().filter(|(of, _)| *of > timeout).min_by_key(|(of, _)| *of);
    let longest = || built.iter().max_by_key(|(of, _)| *of);
    exact.or_else(|| full().and_then(|()| longer().or_else(longest))).map(|(_, it)| it.clone())
}

fn build(connect_timeout: Duration, through_proxy: bool) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // Small writes and reads are what a stream of tokens consists of.
        .tcp_nodelay(true)
        .redirect(Policy::custom(within_origin))
        .referer(false)
        // Retries belong to the client above: here they would multiply.
        .retry(reqwest::retry::never());
    if through_proxy { builder.build() } else { builder.no_proxy().build() }
}

/// Follows only what keeps the method, the body and the origin: the request carries a key and the
/// user's text. Anything else is returned as the answer it is.
fn within_origin(attempt: Attempt<'_>) -> Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let [first, ..] = attempt.previous() else { return attempt.stop() };
    let same_origin = first.origin() == attempt.url().origin();
    if keeps_body && same_origin && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Whether `url` names this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        host == "localhost" || address.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_clients_is_bounded() {
        let clients = Clients::new(&Url::parse("http://127.0.0.1:1/").unwrap());
        for millis in 1..40 {
            clients.get(Duration::from_millis(millis * 10)).unwrap();
        }
        let kept: Vec<u128> = clients.built.lock().iter().map(|(of, _)| of.as_millis()).collect();
        assert_eq!(kept, [10, 20, 30, 40]);
    }

    #[test]
    fn a_further_timeout_shares_the_next_longer_client() {
        let client = Client::new();
        let of = |secs| (Duration::from_secs(secs), client.clone());
        assert!(pick(&[of(1), of(2), of(4)], Duration::from_secs(3)).is_none(), "there is room");
        assert!(pick(&[of(1), of(2), of(4), of(8)], Duration::from_secs(3)).is_some());
        assert!(pick(&[of(1), of(2), of(4), of(8)], Duration::from_secs(9)).is_some());
    }

    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        let loopback = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(loopback("http://127.0.0.1:9/v1"));
        assert!(loopback("http://[::1]:9/v1"));
        assert!(loopback("http://localhost:11434/v1"));
        assert!(!loopback("https://api.example.com/v1"));
    }
}
