//! The port at which a node takes commands and tells what is final.
//!
//! Owns the connection of the load, of which there is one at a time, and the thread that reads it.
//! Never: keeps a command.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Failure;
use crate::frame::{decode, encode_final, encode_leader, encode_refused};

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;

/// A command as it came.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its number, unique in a run of the load, and growing.
    pub id: u64,
    /// Its bytes.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<TcpStream>,
    leader: Option<u16>,
}

impl State {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream
            && stream.write_all(bytes).is_err()
        {
            // The load is gone, or another comes.
            self.stream = None;
        }
    }
}

/// Answers to the load; clones share the connection.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    state: Arc<Mutex<State>>,
}

impl Gateway {
    /// Listens at `address`; `take` is called with all commands that one read brought, by the
    /// thread that reads.
    ///
    /// # Errors
    /// The address cannot be listened at, or no thread can be started.
    pub fn listen(
        &self,
        address: SocketAddr,
        take: impl Fn(Vec<Command>) + Send + 'static,
    ) -> Result<(), Failure> {
        let listener = TcpListener::bind(address)?;
        let gateway = self.clone();
        std::thread::Builder::new()
            .name("gateway".into())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if let Err(error) = gateway.serve(stream, &take) {
                        eprintln!("load: {error}");
                    }
                }
            })?;
        Ok(())
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn serve(&self, mut stream: TcpStream, take: &impl Fn(Vec<Command>)) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        let answers = stream.try_clone()?;
        self.with(|state| {
            state.stream = Some(answers);
            if let Some(leader) = state.leader {
                let mut bytes = Vec::new();
                encode_leader(leader, &mut bytes);
                state.write(&bytes);
            }
        });
        let mut buffer = vec![0; READ_BYTES];
        let mut pending = Vec::new();
        let result = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(bytes) => pending.extend_from_slice(&buffer[..bytes]),
                Err(error) => break Err(error.into()),
            }
            match take_all(&mut pending) {
                Ok(commands) if commands.is_empty() => {}
                Ok(commands) => take(commands),
                Err(error) => break Err(error),
            }
        };
        // It may be gone already.
        stream.shutdown(Shutdown::Both).ok();
        self.with(|state| state.stream = None);
        result
    }

    /// Tells that these commands are final at this node.
    pub fn finalized(&self, ids: &[u64]) {
        if !ids.is_empty() {
            let mut bytes = Vec::new();
            encode_final(ids, &mut bytes);
            self.with(|state| state.write(&bytes));
        }
    }

    /// Tells that this node does not take these commands.
    pub fn refused(&self, ids: &[u64]) {
        if !ids.is_empty() {
            let mut bytes = Vec::new();
            encode_refused(ids, &mut bytes);
            self.with(|state| state.write(&bytes));
        }
    }

    /// Tells who leads, now and to each load that comes.
    pub fn leads(&self, index: u16) {
        let mut bytes = Vec::new();
        encode_leader(index, &mut bytes);
        self.with(|state| {
            state.leader = Some(index);
            state.write(&bytes);
        });
    }
}

fn take_all(pending: &mut Vec<u8>) -> Result<Vec<Command>, Failure> {
    let mut commands = Vec::new();
    let mut at = 0;
    while let Some((submit, bytes)) = decode(&pending[at..])? {
        commands.push(Command {
            id: submit.id,
            body: submit.body.to_vec(),
        });
        at += bytes;
    }
    pending.drain(..at);
    Ok(commands)
}
