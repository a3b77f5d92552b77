//! A server and the proxy before it, on a thread of their own: what they allocate is not the
//! client's, and a client that blocks does not stop them.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::proxy::{Proxy, Toxic};
use crate::upstream::Upstream;
use crate::wire::Framing;

/// Both, until it is dropped.
pub(crate) struct Rig {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) upstream: Arc<Upstream>,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let (proxy, upstream) = (Arc::new(Proxy::new()), Arc::new(Upstream::new()));
        let (stop, stopped) = oneshot::channel();
        let (told, port) = std::sync::mpsc::channel();
        let serving = (Arc::clone(&proxy), Arc::clone(&upstream));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (proxy, upstream) = serving;
                let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let before = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(before.local_addr().unwrap().port()).unwrap();
                let port = behind.local_addr().unwrap().port();
                tokio::select! {
                    () = upstream.serve(behind) => {}
                    () = proxy.serve(before, port) => {}
                    _ = stopped => {}
                }
            });
        });
        let port = port.recv().unwrap();
        Self { proxy, upstream, port, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers framed like this, on connections like that.
    pub(crate) fn set(&self, framing: Framing, toxic: Toxic) {
        self.upstream.frame(framing);
        self.proxy.poison(toxic);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
