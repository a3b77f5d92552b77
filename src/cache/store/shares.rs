//! How much of a shard each scope holds.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use super::chain::{Chain, Link};
use super::shard::Identity;
use crate::cache::key::ScopeKey;

/// The account of each scope, and which of them hold more than their share.
#[derive(Debug)]
pub(super) struct Shares {
    accounts: HashMap<ScopeKey, Account, BuildHasherDefault<Identity>>,
    links: Vec<Link>,
    heavy: BTreeSet<ScopeKey>,
    most: Held,
}

/// Entries and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Held {
    pub(super) const fn plus(self, bytes: usize) -> Self {
        Self { entries: self.entries + 1, bytes: self.bytes.saturating_add(bytes) }
    }

    pub(super) const fn exceeds(self, most: Self) -> bool {
        self.entries > most.entries || self.bytes > most.bytes
    }
}

#[derive(Debug, Default)]
struct Account {
    places: Chain,
    bytes: usize,
}

impl Account {
    const fn held(&self) -> Held {
        Held { entries: self.places.len(), bytes: self.bytes }
    }
}

impl Shares {
    pub(super) fn new(most: Held) -> Self {
        Self { accounts: HashMap::default(), links: Vec::new(), heavy: BTreeSet::new(), most }
    }

    pub(super) fn add(&mut self, scope: ScopeKey, place: u32, bytes: usize) {
        let at = place as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link::default());
        }
        let account = self.accounts.entry(scope).or_default();
        account.places.push(&mut self.links, place);
        account.bytes += bytes;
        self.weigh(scope);
    }

    pub(super) fn remove(&mut self, scope: ScopeKey, place: u32, bytes: usize) {
        let Some(account) = self.accounts.get_mut(&scope) else { return };
        account.places.remove(&mut self.links, place);
        account.bytes -= bytes;
        if account.places.len() == 0 {
            self.accounts.remove(&scope);
        }
        self.weigh(scope);
    }

    pub(super) fn grow(&mut self, scope: ScopeKey, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&scope) {
            account.bytes += bytes;
        }
        self.weigh(scope);
    }

    pub(super) fn shrink(&mut self, scope: ScopeKey, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&scope) {
            account.bytes -= bytes;
        }
        self.weigh(scope);
    }

    fn weigh(&mut self, scope: ScopeKey) {
        let heavy = self.accounts.get(&scope).is_some_and(|a| a.held().exceeds(self.most));
        if heavy {
            self.heavy.insert(scope);
        } else {
            self.heavy.remove(&scope);
        }
    }

    /// Who gives way to a new entry of `scope`: itself when it would hold more than its share, else
    /// whoever does. `None` where nobody in particular does.
    pub(super) fn gives_way(
        &self,
        scope: ScopeKey,
        bytes: usize,
        total: usize,
    ) -> Option<ScopeKey> {
        let own = self.accounts.get(&scope).map(Account::held).unwrap_or_default();
        let over = own.entries > 0 && own.plus(bytes).exceeds(self.most);
        let found = if over { Some(scope) } else { self.heavy.first().copied() };
        // Whoever holds everything is told nothing by the name: the better rule decides.
        found.filter(|scope| self.accounts.get(scope).is_some_and(|a| a.places.len() < total))
    }

    pub(super) fn oldest(&self, scope: ScopeKey) -> Option<u32> {
        self.accounts.get(&scope)?.places.oldest()
    }

    /// Makes the oldest place of a scope its newest.
    pub(super) fn turn(&mut self, scope: ScopeKey, place: u32) {
        if let Some(account) = self.accounts.get_mut(&scope) {
            account.places.remove(&mut self.links, place);
            account.places.push(&mut self.links, place);
        }
    }
}
