//! The bodies of the fuzz targets, in the ordinary test run: over every case of the corpus, over the
//! cases with some bytes changed, and over arbitrary bytes.
//!
//! A body takes bytes and checks what is promised, not only that nothing panics. The targets in
//! `tests/fuzz` run the same files with coverage to guide them.

mod anthropic;
mod bucket;
mod bytes;
mod cell;
mod config;
mod envelope;
mod headers;
mod keys;
mod openai;
mod queue_state;
mod quota_store;
mod snapshot;
mod sse;
mod vectors;
mod wires;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// Small texts that change what a byte means.
const WORDS: [&str; 16] = [
    "\"",
    "{",
    "}",
    "[]",
    ",",
    ":",
    "null",
    "1e400",
    "-1",
    "18446744073709551615",
    "\\u0000",
    "\n",
    "\r",
    "data: ",
    "\u{e9}",
    "e\u{301}",
];

#[derive(Debug, Clone)]
enum Edit {
    Put(Index, u8),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    Word(Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Put(at, byte)),
        (any::<Index>(), 1..9_u8).prop_map(|(at, many)| Edit::Remove(at, many)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), 0..WORDS.len()).prop_map(|(at, word)| Edit::Word(at, word)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        match edit {
            Edit::Put(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Edit::Remove(at, many) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + usize::from(*many)));
            }
            Edit::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Edit::Word(at, word) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, WORDS[*word].bytes());
            }
            Edit::Put(..) | Edit::Remove(..) => {}
        }
    }
    bytes
}

/// The committed cases of a target, by name, so that a failure says which.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut cases: Vec<_> = files
        .map(|file| {
            let path = file.expect("a folder that was opened can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a listed file can be read"))
        })
        .collect();
    cases.sort();
    cases
}

macro_rules! targets {
    ($($name:ident up to $most:literal, $cases:literal cases;)*) => {
        mod targets {
            use super::*;
            $(mod $name {
                use super::*;

                #[test]
                fn every_case_of_the_corpus() {
                    for (case, bytes) in corpus(stringify!($name)) {
                        println!("{case}");
                        crate::$name::run(&bytes);
                    }
                }

                proptest! {
                    #![proptest_config(ProptestConfig::with_cases($cases))]

                    #[test]
                    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..$most)) {
                        crate::$name::run(&bytes);
                    }

                    #[test]
                    fn cases_of_the_corpus_with_changes(
                        case: Index,
                        edits in prop::collection::vec(edit(), 1..9),
                    ) {
                        let mut cases = corpus(stringify!($name));
                        let (_, bytes) = cases.swap_remove(case.index(cases.len()));
                        crate::$name::run(&edited(bytes, &edits));
                    }
                }
            })*
        }

        /// Whoever adds a target adds its body here, and the other way round.
        #[test]
        fn every_target_has_a_body_here() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
            let files = std::fs::read_dir(folder).expect("there are targets");
            let mut targets: Vec<_> = files
                .map(|file| file.expect("a folder that was opened can be listed").path())
                .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
                .collect();
            targets.sort();
            let mut bodies = vec![$(stringify!($name)),*];
            bodies.sort();
            assert_eq!(targets, bodies);
        }
    };
}

targets! {
    anthropic up to 600, 256 cases;
    bucket up to 400, 256 cases;
    config up to 200, 256 cases;
    envelope up to 400, 256 cases;
    headers up to 200, 256 cases;
    keys up to 400, 256 cases;
    openai up to 600, 256 cases;
    queue_state up to 600, 256 cases;
    quota_store up to 600, 256 cases;
    snapshot up to 300, 128 cases;
    sse up to 300, 256 cases;
    vectors up to 900, 128 cases;
}
