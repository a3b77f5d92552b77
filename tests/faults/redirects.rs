//! A server that sends the client elsewhere.

use std::sync::Arc;

use evenkeel::ErrorKind::Malformed;

use crate::caller::{Caller, all_closed};
use crate::proxy::{Script, Toxic};
use crate::rig::Rig;
use crate::wire::{Framing, KEY, Way, Wire};

fn redirect(status: u16, location: &str) -> Toxic {
    let head = format!(
        "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    Toxic::Say(Arc::new(Script { head: head.into_bytes(), ..Script::default() }))
}

/// Neither the question nor the key leaves the host they were meant for.
#[tokio::test]
async fn nobody_is_followed_to_another_host() {
    let (rig, elsewhere) = (Rig::start(), Rig::start());
    let path = "/v1/chat/completions?secret=q-0123456789";
    let authority = elsewhere.url().replace("http://", "");
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = Caller::new(&rig, wire, way);
            for status in [301, 302, 303, 307, 308] {
                for location in [
                    format!("{}{path}", elsewhere.url()),
                    format!("//{authority}{path}"),
                    // The key as a password of the place to go to.
                    format!("http://user:{KEY}@{authority}{path}"),
                ] {
                    rig.set(Framing::Chunked, redirect(status, &location));
                    let error = caller.ask().await.unwrap_err();
                    let failure = error.provider_error().unwrap();
                    assert_eq!((failure.kind(), failure.status()), (Malformed, Some(status)));
                    let shown = format!("{error} {error:?} {}", failure.message());
                    for word in [KEY, "q-0123456789", "secret="] {
                        assert!(!shown.contains(word), "{word} is in {shown}");
                    }
                    all_closed(&rig).await;
                    caller.recovers(&rig).await;
                    all_closed(&rig).await;
                }
            }
        }
    }
    assert_eq!(elsewhere.proxy.accepted(), 0, "nobody came");
}

/// Within its own host a server may move a path, but not for ever.
#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        rig.set(Framing::Chunked, redirect(307, "/again"));
        let before = rig.proxy.accepted();
        let caller = Caller::new(&rig, wire, Way::Whole);
        let error = caller.ask().await.unwrap_err();
        assert_eq!(error.provider_error().unwrap().kind(), Malformed);
        assert_eq!(rig.proxy.accepted() - before, 4, "the first and three redirects");
        all_closed(&rig).await;
        caller.recovers(&rig).await;
    }
}
