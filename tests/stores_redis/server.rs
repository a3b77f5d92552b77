//! Servers on loopback, each with a directory of its own, gone when they are dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel::time::{after, now, sleep_until};
use redis::{FromRedisValue, RedisResult};

const COMMAND: &str = "redis-server";

/// One server.
pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    directory: PathBuf,
    options: Vec<String>,
}

impl Server {
    /// One that is ready.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One that was started with more options.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("evenkeel-redis-{port}"));
        std::fs::create_dir_all(&directory).unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { child: None, port, directory, options };
        server.run().await;
        server
    }

    /// Starts it, after it was killed or for the first time.
    pub(crate) async fn run(&mut self) {
        let child = Command::new(COMMAND)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(&self.directory)
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("{COMMAND} is needed (Debian: apt-get install redis-server): {error}")
        }));
        for _ in 0..500 {
            if self.try_ask::<String>(&["PING"]).await.is_ok() {
                return;
            }
            pause(Duration::from_millis(10)).await;
        }
        panic!("{COMMAND} did not answer within five seconds");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Asks it by itself.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let password = self.options.iter().position(|option| option == "--requirepass");
        let user = password.map_or(String::new(), |at| format!(":{}@", self.options[at + 1]));
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    /// Ends it as a machine does that fails.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It stops answering and keeps its connections.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Three masters that share all slots.
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut masters = Vec::new();
        for _ in 0..3 {
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
            masters.push(Server::with(&options).await);
        }
        for (at, slots) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].iter().enumerate()
        {
            let (master, epoch) = (&masters[at], (at + 1).to_string());
            let _: String = master.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            let _: String = master.ask(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]).await;
            let first = masters[0].port().to_string();
            let _: String = master.ask(&["CLUSTER", "MEET", "127.0.0.1", &first]).await;
        }
        let cluster = Self { masters };
        cluster.ready().await;
        cluster
    }

    /// Every master knows that all slots are served.
    async fn ready(&self) {
        for _ in 0..500 {
            let mut ready = 0;
            for master in &self.masters {
                let info: String = master.ask(&["CLUSTER", "INFO"]).await;
                let all = ["cluster_state:ok", "cluster_known_nodes:3"];
                ready += u32::from(all.iter().all(|line| info.contains(line)));
            }
            if ready == 3 {
                return;
            }
            pause(Duration::from_millis(20)).await;
        }
        panic!("the cluster did not form within ten seconds");
    }
}

pub(crate) async fn pause(time: Duration) {
    sleep_until(after(now(), time)).await;
}

/// A free port of loopback, low enough that ten thousand more is one too: a cluster's masters meet
/// there.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}
