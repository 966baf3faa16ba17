//! The rules of docs/protocol.md, each with a test that fails without it. One file a topic; a
//! test's name begins with the number of its rule.

mod attest;
mod behind;
mod bench;
mod bounds;
mod chaos;
mod costs;
mod counting;
mod epochs;
mod fixtures;
mod idle;
mod long_branch;
mod member;
mod proof;
mod r10_repair;
mod r10_requests;
mod r11_order;
mod r12_fence;
mod r12_restart;
mod r13_answer;
mod r13_ask;
mod r1_enter;
mod r2_propose;
mod r3_first_vote;
mod r4_final;
mod r5_stop;
mod r6_also;
mod r7_skip_fallback;
mod r8_finalize;
mod r9_jump;
mod seen;
mod showing;
mod steady;
mod support;
mod time_and_stops;
mod under_load;
