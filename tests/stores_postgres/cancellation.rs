//! Questions that are dropped half-way: the table has the whole entry or none, and the connection
//! serves the next.

use evenkeel::cache::shared::VectorIndex as _;
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};

use crate::entries::{at_degrees, entry};
use crate::server::{Server, Version};

#[tokio::test]
async fn a_table_is_made_wherever_its_making_was_dropped() {
    let server = Server::shared(Version::Newest).await;
    for polls in 0.. {
        let index = server.index(&format!("made_{polls}")).dimensions(8).connections(1);
        let index = index.build().unwrap();
        let made = drop_after_polls(index.migrate(), polls).await;
        index.migrate().await.unwrap();
        index.insert(&entry((1, 1), "q", at_degrees(0.0))).await.unwrap();
        assert_eq!(index.nearest(1, &at_degrees(1.0), 0.9).await.unwrap().len(), 1, "{polls}");
        if made.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn an_index_is_whole_wherever_a_question_is_dropped() {
    let server = Server::shared(Version::Newest).await;
    let index = server.migrated("dropped_anywhere").await;
    let asked = at_degrees(1.0);
    let kept = entry((1, 1), "q", at_degrees(0.0));
    for polls in 0.. {
        let inserted = drop_after_polls(index.insert(&kept), polls).await;
        let near = drop_at_every_poll(|| index.nearest(1, &asked, 0.9), |_| {}).await.unwrap();
        assert!(near.len() <= 1 && near.iter().all(|it| it.entry.exact == 1), "{polls}: {near:?}");
        drop_at_every_poll(|| index.remove(1, 1), |_| {}).await.unwrap();
        // What was dropped may still be under way behind the removal, on another connection.
        if let Some(inserted) = inserted {
            inserted.unwrap();
            break;
        }
    }
    index.remove(1, 1).await.unwrap();
    let mut labelled = entry((2, 1), "q", at_degrees(0.0));
    labelled.answer.stamps.push(evenkeel::cache::shared::Stamp::new(9, 1));
    index.insert(&labelled).await.unwrap();
    let deleted = drop_at_every_poll(|| index.invalidate(9), |_| {}).await.unwrap();
    assert!(deleted <= 1, "it may have gone with one that was dropped");
    assert_eq!(index.nearest(2, &asked, 0.9).await.unwrap().len(), 0);
    let cleaned = drop_at_every_poll(|| index.clean_up(), |_| {}).await.unwrap();
    assert_eq!(cleaned, 0, "nothing has expired");
}
