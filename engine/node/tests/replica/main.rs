//! Whole validators without threads and sockets: the same code as a node's, under virtual time.

mod behind;
mod censoring;
mod commands;
mod flow;
mod folders;
mod joining;
mod moving;
mod recovery;
mod repair;
mod second;
mod sessions;
mod signed;
mod suspicion;
mod tape;
mod world;
