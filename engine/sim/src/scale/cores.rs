//! Cores, and what runs on them: one for each validator, or some that validators share.
//!
//! First come, first served: what is to run takes a free core, of several the one that was freed
//! first, and keeps it to its end; where none is free it waits behind what came before it. Owns
//! whose turn it is. Never: time that passes, or how long anything takes.

use std::collections::VecDeque;

/// A core: of which machine, and which of its cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CoreId {
    machine: usize,
    core: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Core {
    is_taken: bool,
    freed_ns: u64,
    /// Whose thread ran here last.
    last: Option<usize>,
}

#[derive(Debug)]
struct Machine<W> {
    cores: Vec<Core>,
    waiting: VecDeque<W>,
}

/// All cores of all machines.
#[derive(Debug)]
pub(super) struct Cores<W> {
    machines: Vec<Machine<W>>,
    is_shared: bool,
}

impl<W> Cores<W> {
    /// A machine with one core for each validator.
    pub(super) fn one_each(validators: usize) -> Self {
        Self {
            machines: (0..validators).map(|_| Machine::with(1)).collect(),
            is_shared: false,
        }
    }

    /// One machine with so many cores for all validators.
    pub(super) fn shared(cores: usize) -> Self {
        Self {
            machines: vec![Machine::with(cores.max(1))],
            is_shared: true,
        }
    }

    /// Whether validators share them.
    pub(super) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    const fn machine_of(&self, validator: usize) -> usize {
        if self.is_shared { 0 } else { validator }
    }

    /// Takes a free core for what a validator has to do; where none is free, it waits.
    pub(super) fn ask(&mut self, validator: usize, work: W) -> Option<(CoreId, W)> {
        let machine = self.machine_of(validator);
        let of = &mut self.machines[machine];
        let free = of.cores.iter_mut().enumerate();
        let free = free.filter(|(_, core)| !core.is_taken);
        let Some((at, core)) = free.min_by_key(|(at, core)| (core.freed_ns, *at)) else {
            of.waiting.push_back(work);
            return None;
        };
        core.is_taken = true;
        Some((CoreId { machine, core: at }, work))
    }

    /// When a core was given up last.
    pub(super) fn freed_ns(&self, id: CoreId) -> u64 {
        self.machines[id.machine].cores[id.core].freed_ns
    }

    /// What ran on a core has ended: what has waited longest has the core now, if anything does.
    pub(super) fn give_up(&mut self, id: CoreId, now_ns: u64) -> Option<W> {
        let machine = &mut self.machines[id.machine];
        let next = machine.waiting.pop_front();
        let core = &mut machine.cores[id.core];
        core.is_taken = next.is_some();
        core.freed_ns = now_ns;
        next
    }

    /// What runs on a core lets those go first that wait: it waits behind them. Given back where
    /// nobody waits.
    pub(super) fn let_others(&mut self, id: CoreId, work: W) -> Result<W, W> {
        let waiting = &mut self.machines[id.machine].waiting;
        match waiting.pop_front() {
            Some(next) => {
                waiting.push_back(work);
                Ok(next)
            }
            None => Err(work),
        }
    }

    /// A thread of this validator runs here now; whether another's did since it ran here last, or
    /// nothing did yet.
    pub(super) fn is_cold(&mut self, id: CoreId, validator: usize) -> bool {
        let core = &mut self.machines[id.machine].cores[id.core];
        core.last.replace(validator) != Some(validator)
    }
}

impl<W> Machine<W> {
    fn with(cores: usize) -> Self {
        Self {
            cores: vec![Core::default(); cores],
            waiting: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_is_served_first_on_the_core_that_was_freed_first() {
        let mut cores = Cores::shared(2);
        let (first, _) = cores.ask(0, 'a').unwrap();
        let (second, _) = cores.ask(1, 'b').unwrap();
        assert_ne!(first, second);
        assert_eq!(cores.ask(2, 'c'), None);
        assert_eq!(cores.ask(3, 'd'), None);
        assert_eq!(cores.give_up(second, 10), Some('c'), "and has that core");
        assert_eq!(cores.give_up(first, 20), Some('d'));
        assert_eq!(cores.give_up(first, 30), None);
        assert_eq!(cores.give_up(second, 40), None);
        assert_eq!(cores.ask(0, 'e'), Some((first, 'e')), "freed at 30");
        assert_eq!([first, second].map(|core| cores.freed_ns(core)), [30, 40]);
    }

    #[test]
    fn each_on_its_own_machine_waits_for_nobody_else() {
        let mut cores = Cores::one_each(2);
        let (first, _) = cores.ask(0, 'a').unwrap();
        assert!(cores.ask(1, 'b').is_some());
        assert_eq!(cores.ask(0, 'c'), None, "for itself it does");
        assert_eq!(cores.give_up(first, 1), Some('c'));
    }

    #[test]
    fn who_gives_a_core_up_is_served_behind_those_that_wait() {
        let mut cores = Cores::shared(1);
        let (core, _) = cores.ask(0, 'a').unwrap();
        assert_eq!(cores.let_others(core, 'a'), Err('a'), "nobody waits");
        assert_eq!(cores.ask(1, 'b'), None);
        assert_eq!(cores.ask(2, 'c'), None);
        assert_eq!(cores.let_others(core, 'a'), Ok('b'));
        let rest = [1, 2, 3].map(|now_ns| cores.give_up(core, now_ns));
        assert_eq!(rest, [Some('c'), Some('a'), None]);
    }

    #[test]
    fn a_core_is_cold_for_whom_another_ran_on_it_before() {
        let mut cores = Cores::<()>::shared(1);
        let (core, ()) = cores.ask(0, ()).unwrap();
        let cold = [0, 0, 1, 0].map(|validator| cores.is_cold(core, validator));
        assert_eq!(cold, [true, false, true, true]);
        let mut own = Cores::<()>::one_each(1);
        let (core, ()) = own.ask(0, ()).unwrap();
        let cold = [0, 0].map(|validator| own.is_cold(core, validator));
        assert_eq!(cold, [true, false]);
    }
}
