//! How often each fault was injected.
//!
//! Owns plain numbers.

use serde::{Deserialize, Serialize};

macro_rules! fault_counts {
    ($($name:ident),* $(,)?) => {
        /// Faults of one run or of many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(
            missing_docs,
            reason = "each name is its meaning: how often that happened"
        )]
        pub struct FaultCounts {
            $(pub $name: u64,)*
        }

        impl FaultCounts {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Every fault by name.
            pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

fault_counts! {
    kills,
    leader_kills,
    clean_stops,
    blackouts,
    power_cuts,
    torn_power_cuts,
    second_crashes,
    crashes_in_recovery,
    crashes_before_voting,
    sync_failures,
    full_disks,
    lost_disks,
    rots,
    restarts,
    pauses,
    slow_spells,
    disk_stalls,
    cuts,
    one_way_cuts,
    clogs,
    connection_resets,
    clock_jumps,
    frames_sent,
    frames_lost,
    frames_cut,
    frames_clogged,
    frames_doubled,
    frames_reordered,
    resubmissions,
}
