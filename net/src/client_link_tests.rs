//! The dialing side: names, deadlines, and whether anybody is there.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use rustix::net::sockopt;

use super::*;
use crate::handler::{ClientId, Handler};
use crate::handshake::Authenticator;
use crate::limits::CLIENT_KEPT_BYTES;
use crate::link::Role;
use crate::poller::{Net, NetConfig};

/// Believes everything.
struct Everybody;

impl Authenticator for Everybody {
    fn sign_hello(&self, _hash: &[u8; 32], _peer: u16) -> [u8; 64] {
        [0; 64]
    }
    fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
        true
    }
    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        true
    }
}

impl ClientAuthenticator for Everybody {
    fn key(&self) -> [u8; 32] {
        [1; 32]
    }
    fn sign_login(&self, _hash: &[u8; 32], _validator: u16) -> [u8; 64] {
        [0; 64]
    }
    fn verify_hello(&self, _: &[u8; 32], _: u16, _: &[u8; 64]) -> bool {
        true
    }
}

/// How many have logged in, and how many frames have come of them.
#[derive(Default)]
struct Logins {
    clients: usize,
    frames: usize,
}

impl Handler for Logins {
    fn peer_up(&mut self, _peer: u16, _incarnation: u64) {}
    fn peer_down(&mut self, _peer: u16, _reason: CloseReason) {}
    fn peer_frame(&mut self, _peer: u16, _frame: &[u8]) {}
    fn client_up(&mut self, _client: ClientId, _key: [u8; 32]) {
        self.clients += 1;
    }
    fn client_down(&mut self, _client: ClientId) {}
    fn client_frame(&mut self, _client: ClientId, _frame: &[u8]) {
        self.frames += 1;
    }
}

impl LinkHandler for Logins {
    fn link_up(&mut self, _link: LinkId, _validator: u16, _incarnation: u64) {}
    fn link_down(&mut self, _link: LinkId, reason: CloseReason) {
        panic!("{reason:?}");
    }
    fn link_frame(&mut self, _link: LinkId, _frame: &[u8]) {}
}

const CHAIN: ChainIds = ChainIds {
    chain_id: [1; 32],
    genesis_hash: [2; 32],
};

/// What a client was told.
#[derive(Default)]
struct Told {
    ups: Vec<LinkId>,
    downs: Vec<(LinkId, CloseReason)>,
}

impl LinkHandler for Told {
    fn link_up(&mut self, link: LinkId, _validator: u16, _incarnation: u64) {
        self.ups.push(link);
    }
    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        self.downs.push((link, reason));
    }
    fn link_frame(&mut self, _link: LinkId, _frame: &[u8]) {}
}

fn validator() -> Net {
    let config = NetConfig {
        index: 3,
        incarnation: 1,
        chain: CHAIN,
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: Some("127.0.0.1:0".to_owned()),
        peers: Vec::new(),
        limits: Limits::default(),
        jitter_seed: 7,
    };
    Net::bind(config, Arc::new(Everybody)).unwrap()
}

fn connect(links: &mut ClientLinks, address: &str) -> LinkId {
    let link = links.connect(Instant::now(), address, CHAIN, Arc::new(Everybody));
    link.unwrap()
}

/// Turns both until it holds.
fn turn_until(
    what: &str,
    (net, links, told): (&mut Net, &mut ClientLinks, &mut Told),
    mut holds: impl FnMut(&Net, &ClientLinks, &Told) -> bool,
) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds(net, links, told) {
        let now = Instant::now();
        assert!(now < end, "not in time: {what}");
        net.turn(now, Some(Duration::ZERO), &mut Logins::default())
            .unwrap();
        links.turn(now, Some(Duration::ZERO), told).unwrap();
    }
}

/// A validator and a client that has logged in there.
fn logged_in() -> (Net, ClientLinks) {
    let mut net = validator();
    let mut links = ClientLinks::new(Limits::default()).unwrap();
    let address = net.client_address().unwrap().to_string();
    let begun = Instant::now();
    links
        .connect(begun, &address, CHAIN, Arc::new(Everybody))
        .unwrap();
    let (mut of_net, mut of_links) = (Logins::default(), Logins::default());
    while of_net.clients == 0 {
        let now = Instant::now();
        assert!(now < begun + Duration::from_secs(20), "nobody logs in");
        let timeout = Some(Duration::ZERO);
        net.turn(now, timeout, &mut of_net).unwrap();
        links.turn(now, timeout, &mut of_links).unwrap();
    }
    (net, links)
}

/// Silence is legitimate at both ends, so that nothing else would find out.
#[test]
fn the_kernel_asks_at_both_ends_of_a_client_s_connection_whether_anybody_is_there() {
    let (mut net, mut links) = logged_in();
    let is_client = |link: &crate::link::Link| matches!(link.role, Role::Client { .. });
    let of_net = net.links.iter_mut().map(|(_, link)| link);
    let of_net = of_net.filter(|link| is_client(link));
    let of_net = of_net.map(|link| link.connection.stream());
    let of_links = links.links.iter_mut();
    let of_links = of_links.map(|(_, entry)| match entry {
        Entry::Dialed(link) => link.connection.stream(),
        Entry::Looking(_) => panic!("a number is not looked up"),
    });
    let mut ends = 0;
    for stream in of_net.chain(of_links) {
        ends += 1;
        assert_eq!(sockopt::socket_keepalive(&*stream), Ok(true));
        let after = sockopt::tcp_keepidle(&*stream);
        assert_eq!(after, Ok(Duration::from_secs(10)));
        // A second small frame waits for no acknowledgement of the first one.
        assert!(stream.nodelay().unwrap());
    }
    assert_eq!(ends, 2);
}

#[test]
fn a_client_that_once_sent_a_long_frame_keeps_little_memory() {
    let (mut net, mut links) = logged_in();
    let link = LinkId(links.links.iter().next().unwrap().0);
    let frame = vec![7; Limits::default().client_frame_bytes_max];
    links.send(link, &frame).unwrap();
    links.flush();
    let (mut of_net, mut of_links) = (Logins::default(), Logins::default());
    let end = Instant::now() + Duration::from_secs(20);
    while of_net.frames == 0 {
        let now = Instant::now();
        assert!(now < end, "it does not come");
        let timeout = Some(Duration::ZERO);
        net.turn(now, timeout, &mut of_net).unwrap();
        links.turn(now, timeout, &mut of_links).unwrap();
    }
    let of_client = net.links.iter().map(|(_, link)| link);
    let mut of_client = of_client.filter(|link| matches!(link.role, Role::Client { .. }));
    let bytes = of_client.next().unwrap().connection.memory_bytes();
    assert!(bytes <= 3 * CLIENT_KEPT_BYTES, "{bytes} bytes are kept");
}

#[test]
fn each_address_of_a_name_is_dialed_in_its_turn_and_the_good_one_kept() {
    let mut net = validator();
    let good = net.client_address().unwrap();
    let bad = [
        (IpAddr::from(Ipv6Addr::LOCALHOST), good.port()).into(),
        good,
    ];
    let look_up: LookUp = Arc::new(move |_: &str| Ok(bad.to_vec()));
    let mut links = ClientLinks::looking_up(Limits::default(), look_up).unwrap();
    let mut told = Told::default();
    let mut tries = 0;
    while told.ups.is_empty() {
        tries += 1;
        assert!(tries <= 2, "the second address is dialed at the second try");
        connect(&mut links, "validator.test:7001");
        turn_until(
            "up or down",
            (&mut net, &mut links, &mut told),
            |_, _, told| told.ups.len() + told.downs.len() == tries,
        );
    }
    // The next dial begins with the one that led somewhere.
    let link = connect(&mut links, "validator.test:7001");
    turn_until(
        "up again",
        (&mut net, &mut links, &mut told),
        |_, _, told| told.ups.contains(&link) || told.downs.len() == tries,
    );
    assert_eq!(told.ups.last(), Some(&link));
}

/// A resolver that takes its time is not the others' trouble.
#[test]
fn a_name_that_is_answered_slowly_holds_up_its_own_links_alone() {
    let mut net = validator();
    let address = net.client_address().unwrap();
    let (release, wait) = sync_channel::<()>(0);
    let wait = Mutex::new(wait);
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let look_up: LookUp = Arc::new(move |name: &str| {
        count.fetch_add(1, Ordering::AcqRel);
        wait.lock().unwrap().recv().ok();
        Ok(if name.starts_with("slow") {
            vec![address]
        } else {
            Vec::new()
        })
    });
    let mut links = ClientLinks::looking_up(Limits::default(), look_up).unwrap();
    let mut told = Told::default();
    let slow = [(); 2].map(|()| connect(&mut links, "slow.test:7001"));
    let number = connect(&mut links, &address.to_string());
    turn_until(
        "the number",
        (&mut net, &mut links, &mut told),
        |_, _, told| !told.ups.is_empty(),
    );
    assert_eq!(told.ups, [number]);
    assert_eq!(links.send(slow[0], b"x"), Err(SendError::NotConnected));
    // However long it was on its way, the login has its own time.
    release.send(()).unwrap();
    turn_until("both", (&mut net, &mut links, &mut told), |_, _, told| {
        told.ups.len() == 3
    });
    assert!(slow.iter().all(|link| told.ups.contains(link)));
    assert_eq!(asked.load(Ordering::Acquire), 1, "one question for both");
    // A name of nobody, and one whose answer does not come in time.
    let nobody = connect(&mut links, "nobody.test:7001");
    release.send(()).unwrap();
    turn_until("nobody", (&mut net, &mut links, &mut told), |_, _, told| {
        !told.downs.is_empty()
    });
    let late = connect(&mut links, "slow.test:7001");
    let limit = Limits::default().handshake_timeout;
    let after = Instant::now() + limit;
    links.turn(after, Some(Duration::ZERO), &mut told).unwrap();
    let failed = CloseReason::ResolveFailed;
    assert_eq!(told.downs, [(nobody, failed), (late, failed)]);
    drop(release);
}

#[test]
fn a_login_that_was_answered_in_time_is_judged_when_the_answer_has_been_read() {
    let mut net = validator();
    let address = net.client_address().unwrap().to_string();
    let mut links = ClientLinks::new(Limits::default()).unwrap();
    let mut told = Told::default();
    let link = connect(&mut links, &address);
    let is_shaking = |links: &ClientLinks| {
        let mut all = links.links.iter();
        all.all(|(_, entry)| {
            matches!(entry, Entry::Dialed(link) if matches!(link.stage, Stage::Shaking(_)))
        })
    };
    let (end, idle) = (Instant::now() + Duration::from_secs(20), Duration::ZERO);
    while net.counters().bytes_out == 0 {
        let now = Instant::now();
        assert!(now < end, "no answer");
        net.turn(now, Some(idle), &mut Logins::default()).unwrap();
        if !is_shaking(&links) {
            links.turn(now, Some(idle), &mut told).unwrap();
        }
    }
    assert!(is_shaking(&links) && told.ups.is_empty());
    // This loop does not get to it for long.
    let late = Instant::now() + 2 * Limits::default().handshake_timeout;
    links.turn(late, Some(Duration::ZERO), &mut told).unwrap();
    assert_eq!((told.ups, told.downs), (vec![link], vec![]));
}
