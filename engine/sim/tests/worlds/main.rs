//! Whole worlds by their seeds: what an embedder gets, liars, joins, and that a seed is repeatable.

mod application_faults;
mod applications;
mod byzantine;
mod joining;
mod seeds;
mod site;
