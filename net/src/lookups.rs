//! Names that client links wait for, and which address of a name is dialed first.
//!
//! Owns: each name asked for once, however many links wait for it, and the turn of its addresses: a
//! name may have several of which only one leads anywhere, as where a machine has an address of a
//! kind at which nobody listens. Never: a cache of addresses; each dial looks again.

use std::collections::BTreeMap;

use crate::error::NetError;
use crate::resolver::{Answer, LookUp, Resolver};
use crate::waker::Waker;

pub(crate) struct Lookups {
    look_up: LookUp,
    /// Started with the first name.
    resolver: Option<Resolver<String>>,
    /// Names that are waited for, and whether the resolver has had room for the question.
    asked: BTreeMap<String, bool>,
    /// Where the next dial of a name begins among its addresses.
    turns: BTreeMap<String, usize>,
}

impl Lookups {
    pub(crate) const fn new(look_up: LookUp) -> Self {
        Self {
            look_up,
            resolver: None,
            asked: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    /// Has a name looked up; `waker` tells when that is done.
    ///
    /// # Errors
    /// [`NetError::Resolver`] if the thread cannot be started.
    pub(crate) fn ask(&mut self, waker: &Waker, name: &str) -> Result<(), NetError> {
        if self.asked.contains_key(name) {
            return Ok(());
        }
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            empty => {
                let look_up = self.look_up.clone();
                empty.insert(Resolver::start(waker.clone(), look_up)?)
            }
        };
        let is_asked = resolver.ask(name.to_owned(), name);
        self.asked.insert(name.to_owned(), is_asked);
        Ok(())
    }

    /// A name that was looked up, for all that wait for it.
    pub(crate) fn answer(&mut self) -> Option<Answer<String>> {
        let resolver = self.resolver.as_ref()?;
        let answer = resolver.answer()?;
        self.asked.remove(&answer.of);
        // Now there is room for one more.
        if let Some((name, is_asked)) = self.asked.iter_mut().find(|(_, is_asked)| !**is_asked) {
            *is_asked = resolver.ask(name.clone(), name);
        }
        Some(answer)
    }

    /// Where to begin among so many addresses of a name.
    pub(crate) fn turn_of(&self, name: &str, addresses: usize) -> usize {
        let turn = self.turns.get(name).copied().unwrap_or_default();
        turn.checked_rem(addresses).unwrap_or_default()
    }

    /// The address at this place led nowhere: the next dial begins behind it.
    pub(crate) fn failed(&mut self, name: String, place: usize) {
        self.turns.insert(name, place.wrapping_add(1));
    }
}
