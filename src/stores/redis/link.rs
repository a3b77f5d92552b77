//! A connection that is made when it is first asked for something.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, Cmd, ConnectionInfo, FromRedisValue, RedisError, RedisResult, Value};

use super::fault::store_error;
use crate::remote::StoreError;
use crate::sync::Mutex;

/// What a burst of calls may have waiting to be written. The driver's own bound of fifty makes the
/// fifty-first wait for the server.
const WAITING_TO_BE_WRITTEN: usize = 2_048;

/// What may be out at once: a server that stands still must not fill the memory.
const MOST_OUT: usize = 1_024;

/// After how long a peer that acknowledges nothing is given up. Nothing else notices one that went
/// without a word.
const SILENCE: Duration = Duration::from_secs(5);

/// Redirections and connections that broke, of one operation in a cluster.
const CLUSTER_RETRIES: u32 = 3;
const CLUSTER_RETRY_WAIT_MS: u64 = 20;

/// How long the driver waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) response: Duration,
}

/// One connection to a server, or one to each server of a cluster.
pub(super) struct Link {
    servers: Servers,
    patience: Patience,
    wire: Mutex<Option<Wire>>,
}

enum Servers {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
enum Wire {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Link {
    /// To one server.
    pub(super) fn to_one(server: ConnectionInfo, patience: Patience) -> RedisResult<Self> {
        let client = Client::open(server.set_tcp_settings(tcp()))?;
        Ok(Self::new(Servers::One(Box::new(client)), patience))
    }

    /// To the cluster that `nodes` are of.
    pub(super) fn to_cluster(nodes: Vec<ConnectionInfo>, patience: Patience) -> RedisResult<Self> {
        let client = ClusterClient::builder(nodes)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(CLUSTER_RETRY_WAIT_MS / 4)
            .max_retry_wait(CLUSTER_RETRY_WAIT_MS)
            .connection_timeout(patience.connect)
            .response_timeout(patience.response)
            .overall_response_timeout(Some(patience.response))
            .connection_concurrency_limit(MOST_OUT)
            .tcp_settings(tcp())
            .build()?;
        Ok(Self::new(Servers::Cluster(Box::new(client)), patience))
    }

    const fn new(servers: Servers, patience: Patience) -> Self {
        Self { servers, patience, wire: Mutex::new(None) }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// Whether it is answered.
    pub(super) async fn ready(&self) -> Result<(), StoreError> {
        self.read(self.ask(&redis::cmd("PING")).await)
    }

    /// Asks once, and once more where it turns out that the connection had broken.
    pub(super) async fn ask(&self, what: &Cmd) -> RedisResult<Value> {
        let wire = self.wire()?;
        match wire.ask(what).await {
            Err(error) if is_broken(&error) => wire.ask(what).await,
            answer => answer,
        }
    }

    /// What an answer says.
    pub(super) fn read<T: FromRedisValue>(
        &self,
        answer: RedisResult<Value>,
    ) -> Result<T, StoreError> {
        let value = answer.and_then(Value::extract_error);
        let read = value.and_then(|value| Ok(redis::from_redis_value(value)?));
        read.map_err(|error| store_error(&error, self.patience.response))
    }

    fn wire(&self) -> RedisResult<Wire> {
        let mut wire = self.wire.lock();
        if let Some(wire) = &*wire {
            return Ok(wire.clone());
        }
        Ok(wire.insert(self.servers.wire(self.patience)?).clone())
    }
}

impl Servers {
    /// A connection that is not made yet.
    fn wire(&self, patience: Patience) -> RedisResult<Wire> {
        Ok(match self {
            Self::One(client) => {
                let client = Client::clone(client);
                Wire::One(ConnectionManager::new_lazy_with_config(client, manager(patience))?)
            }
            Self::Cluster(client) => {
                let config = redis::cluster::ClusterConfig::new();
                Wire::Cluster(client.get_pending_async_connection_with_config(config))
            }
        })
    }
}

impl Wire {
    async fn ask(&self, what: &Cmd) -> RedisResult<Value> {
        match self.clone() {
            Self::One(mut wire) => what.query_async(&mut wire).await,
            Self::Cluster(mut wire) => what.query_async(&mut wire).await,
        }
    }
}

/// No retries when connecting: a failure is told at once, and the breaker paces those who ask.
fn manager(patience: Patience) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(patience.connect))
        .set_response_timeout(Some(patience.response))
        .set_pipeline_buffer_size(WAITING_TO_BE_WRITTEN)
        .set_concurrency_limit(MOST_OUT)
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(SILENCE));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

/// Whether the driver found the connection broken, and makes another: it learns of that by asking.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() && !error.is_timeout()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("cluster", &self.is_cluster())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
