//! Which exit code every refusal of the system comes to, wherever a start meets it.

use super::*;
use rustix::io::Errno;
use std::net::ToSocketAddrs as _;

fn refused(errno: Errno) -> io::Error {
    errno.into()
}

fn recovery(source: RecoveryError) -> StartError {
    let folder = PathBuf::from("data");
    StartError::Recovery { folder, source }
}

/// A start that meets an error of the system, at each place where it may: the name of the place,
/// and the code for an error that says nothing by itself.
type Place = (&'static str, u8, fn(io::Error) -> StartError);

const PLACES: [Place; 17] = [
    ("lock", 3, |source| {
        let folder = PathBuf::from("data");
        StartError::Folder(LockError::Io { folder, source })
    }),
    ("thread", 75, StartError::System),
    ("peers", 3, |source| {
        let (port, address) = ("peers", "::1:1".to_owned());
        StartError::Net(NetError::Listen {
            port,
            address,
            source,
        })
    }),
    ("poll", 75, |source| StartError::Net(NetError::Poll(source))),
    ("metrics", 3, |source| {
        let address = "::1:1".to_owned();
        StartError::Metrics { address, source }
    }),
    ("moved snapshot", 3, |source| {
        StartError::Snapshot(snapshot_io(source))
    }),
    ("snapshot", 3, |source| {
        recovery(RecoveryError::Snapshot(snapshot_io(source)))
    }),
    ("begins", 3, |source| StartError::Begins {
        folder: PathBuf::from("data"),
        source: Box::new(BeginsError::Snapshot(snapshot_io(source))),
    }),
    ("log", 5, |source| {
        let (action, name) = ("read", "segment-0000000000".to_owned());
        recovery(RecoveryError::Log(OpenError::Io {
            action,
            name,
            source,
        }))
    }),
    ("lease", 70, |source| {
        recovery(RecoveryError::LeaseWrite(LeaseError::Io { source }))
    }),
    ("base", 70, |source| {
        recovery(RecoveryError::Base {
            is_noted: true,
            source: LogError::NoSegment { source },
        })
    }),
    ("base without room", 70, |source| {
        recovery(RecoveryError::Base {
            is_noted: true,
            source: LogError::NoRoom { source },
        })
    }),
    ("import", 70, |source| StartError::VoteState {
        folder: PathBuf::from("data"),
        source: VoteStateError::Append(LogError::NoRoom { source }),
    }),
    ("kept vote state", 70, |source| StartError::VoteState {
        folder: PathBuf::from("data"),
        source: VoteStateError::Keep(KeepError::Undone(source)),
    }),
    ("left vote state", 70, |source| StartError::VoteState {
        folder: PathBuf::from("data"),
        source: VoteStateError::Keep(KeepError::Left(source)),
    }),
    ("file", 3, |source| {
        FileError::io(&PathBuf::from("key"), "open the key file", &source).into()
    }),
    ("marker", 70, |source| {
        let action = "remove the clean-stop marker";
        recovery(RecoveryError::Io { action, source })
    }),
];

fn snapshot_io(source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        path: PathBuf::from("snapshots"),
        action: "read the folder",
        source,
    }
}

#[test]
fn what_the_system_refuses_comes_to_the_code_of_what_helps_against_it() {
    let table = [
        (Errno::IO, 70),
        (Errno::ROFS, 70),
        (Errno::NOSPC, 75),
        (Errno::DQUOT, 75),
        (Errno::MFILE, 75),
        (Errno::NFILE, 75),
        (Errno::NOMEM, 75),
        (Errno::ACCESS, 3),
        (Errno::PERM, 3),
    ];
    for (place, otherwise, start) in PLACES {
        for (errno, code) in table {
            let error = start(refused(errno));
            assert_eq!(error.exit_code(), code, "{place}: {error}");
        }
        let error = start(refused(Errno::ISDIR));
        assert_eq!(error.exit_code(), otherwise, "{place}: {error}");
    }
    // What the simulated disks say of a full disk, which has no number.
    let full = recovery(RecoveryError::LeaseWrite(LeaseError::Io {
        source: io::ErrorKind::StorageFull.into(),
    }));
    assert_eq!(full.exit_code(), 75);
}

/// After a power cut a machine may be up before its addresses and its names are.
#[test]
fn ports_addresses_and_names_that_may_come_are_waited_for() {
    // As `std` tells what the resolver says, which has no number.
    let unknown = || io::Error::other("failed to lookup address information");
    let no_port = || "localhost".to_socket_addrs().unwrap_err();
    for (place, _, start) in PLACES {
        let is_port = matches!(place, "peers" | "metrics");
        if is_port {
            for errno in [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL] {
                assert_eq!(start(refused(errno)).exit_code(), 75, "{place}: {errno}");
            }
            assert_eq!(start(unknown()).exit_code(), 75, "{place}");
            assert_eq!(start(no_port()).exit_code(), 3, "{place}");
        }
    }
}

#[test]
fn a_failed_sync_is_told_whatever_the_system_calls_it() {
    for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
        for (is_noted, code) in [(true, 70), (false, 4)] {
            let source = OpenError::SyncFailed {
                name: String::new(),
                source: refused(errno),
            };
            let error = recovery(RecoveryError::NotSynced { is_noted, source });
            assert_eq!(error.exit_code(), code, "{error}");
            let source = LogError::SyncFailed {
                source: refused(errno),
            };
            let error = recovery(RecoveryError::Base { is_noted, source });
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}

#[test]
fn a_node_that_did_not_answer_is_tried_again_and_has_not_stopped() {
    assert_eq!(NodeFailure::NoAnswer.exit_code(), 75);
    let told = NodeFailure::NoAnswer.to_string();
    assert!(!told.contains("stopped"), "{told}");
}
