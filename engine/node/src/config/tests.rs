//! The template, the checks and the defaults of `quorate.toml`.

use super::*;

fn sample() -> ConfigFile {
    ConfigFile::new(
        Path::new("../genesis.json"),
        Path::new("key"),
        Path::new("data"),
    )
}

fn parse(text: &str) -> Result<ConfigFile, FileError> {
    ConfigFile::parse(text, Path::new("quorate.toml"))
}

const HEAD: &str = "genesis = \"g\"\nkey = \"k\"\ndata = \"d\"\n";

#[test]
fn what_the_template_says_is_read_back_as_it_was_meant() {
    let mut config = sample();
    assert_eq!(parse(&config.to_commented_toml()).unwrap(), config);
    config.validator = Some(3);
    config.profile = Profile::Colo;
    config.durability = Durability::Async;
    config.threads = Some(Threads::Shared);
    config.idle = Some(Idle::Yield);
    config.listen.metrics = Some("127.0.0.1:7002".to_owned());
    config.limits.trace_stamps = 7;
    config.rates.order = 5;
    config.rates.cancel = 0;
    config.rates.open_per_min = 7;
    config.rates.open_burst = 9;
    config.log.segment_bytes = 4 << 20;
    config.snapshots.every_heights = 64;
    config.snapshots.keep = 5;
    config.genesis = PathBuf::from("a \"strange\" folder/genesis.json");
    assert_eq!(parse(&config.to_commented_toml()).unwrap(), config);
}

/// Every explained key, uncommented, is a key of the file; and every key of the file is explained.
#[test]
fn the_template_holds_every_key_and_no_other() {
    let uncommented: String = sample()
        .to_commented_toml()
        .lines()
        .map(|line| {
            let key = line.strip_prefix("# ").filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
                })
            });
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    let explained: toml::Table = uncommented.parse().unwrap();
    let read: ConfigFile = toml::from_str(&uncommented).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    let keys = |table: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = table.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let explained = serde_json::to_value(&explained).unwrap();
    assert_eq!(keys(&explained), keys(&written));
    for table in ["listen", "timers", "log", "snapshots", "limits", "rates"] {
        assert_eq!(keys(&explained[table]), keys(&written[table]), "{table}");
    }
}

#[test]
fn the_defaults_that_the_template_shows_are_those_that_are_used() {
    let text = sample().to_commented_toml();
    for shown in [
        format!("# segment_bytes = {}\n", LogConfig::default().segment_bytes),
        format!(
            "# scrub_bytes_per_s = {}\n",
            LogConfig::default().scrub_bytes_per_s
        ),
        format!(
            "# every_heights = {}\n",
            SnapshotConfig::default().every_heights
        ),
        format!("# keep = {}\n", SnapshotConfig::default().keep),
        format!("# clients_max = {}\n", NodeLimits::default().clients_max),
        format!(
            "# pool_commands_max = {}\n",
            NodeLimits::default().pool_commands_max
        ),
        format!(
            "# pool_bytes_max = {}\n",
            NodeLimits::default().pool_bytes_max
        ),
        format!(
            "# public_archive_bytes_max = {}\n",
            NodeLimits::default().public_archive_bytes_max
        ),
        format!(
            "# private_archive_bytes_max = {}\n",
            NodeLimits::default().private_archive_bytes_max
        ),
        format!(
            "# finalized_queue_max = {}\n",
            NodeLimits::default().finalized_queue_max
        ),
    ] {
        assert!(text.contains(&shown), "{shown}");
    }
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    for (text, field) in [
        ("speed = 1\n", "speed"),
        ("[listen]\nport = 1\n", "port"),
        ("[timers]\nprogress_ms = 5\n", "progress_ms"),
        ("[log]\nsegments = 5\n", "segments"),
        ("[limits]\nclients = 5\n", "clients"),
        ("[rates]\norders = 5\n", "orders"),
    ] {
        let error = parse(&format!("{HEAD}{text}")).unwrap_err();
        assert!(error.field.ends_with(field), "{error}");
        assert!(error.problem.contains("unknown field"), "{error}");
    }
}

#[test]
fn a_value_that_is_not_allowed_is_refused_with_field_value_and_remedy() {
    for (text, field, value) in [
        ("[rates]\nburst_ms = 0\n", "rates.burst_ms", "0"),
        ("[rates]\nopen_burst = 0\n", "rates.open_burst", "0"),
        (
            "[rates]\nopen_per_min = 6000001\n",
            "rates.open_per_min",
            "6000001",
        ),
        ("profile = \"fast\"\n", "profile", "fast"),
        ("durability = \"never\"\n", "durability", "never"),
        ("threads = 3\n", "threads", "3"),
        ("pin = [100000]\n", "pin", "100000"),
        ("[listen]\npeers = \"7000\"\n", "listen.peers", "7000"),
        (
            "[listen]\nclients = \"host:0\"\n",
            "listen.clients",
            "host:0",
        ),
        (
            "[listen]\nmetrics = \"host:99999\"\n",
            "listen.metrics",
            "host:99999",
        ),
        ("[timers]\nprogress_us = 0\n", "timers.progress_us", "0"),
        ("[log]\nsegment_bytes = 5\n", "log.segment_bytes", "5"),
        (
            "[log]\nsegment_bytes = 2147483648\n",
            "log.segment_bytes",
            "2147483648",
        ),
        ("[limits]\nclients_max = 0\n", "limits.clients_max", "0"),
        // States are attested at every 64th height, and a snapshot is one of those.
        (
            "[snapshots]\nevery_heights = 65\n",
            "snapshots.every_heights",
            "65",
        ),
        (
            "[snapshots]\nevery_heights = 32\n",
            "snapshots.every_heights",
            "32",
        ),
        // Nothing of the log may go without a snapshot above it.
        (
            "[log]\nbytes_max = 68719476736\n[snapshots]\nevery_heights = 0\n",
            "log.bytes_max",
            "68719476736",
        ),
    ] {
        let error = parse(&format!("{HEAD}{text}")).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(error.value.contains(value), "{error}");
        assert!(!error.remedy.is_empty(), "{error}");
    }
}

#[test]
fn a_log_is_bounded_by_no_fewer_than_four_segments() {
    let of = |bytes: u64| parse(&format!("{HEAD}[log]\nbytes_max = {bytes}\n"));
    let segment = u64::from(LogConfig::default().segment_bytes);
    assert_eq!(of(4 * segment).unwrap().log.bytes_max, 4 * segment);
    for bytes in [1, 3 * segment, 4 * segment - 1] {
        let error = of(bytes).unwrap_err();
        assert_eq!(error.field, "log.bytes_max", "{error}");
        let least = (4 * segment).to_string();
        assert!(error.remedy.contains(&least), "{error}");
    }
    assert_eq!(of(0).unwrap().log.bytes_max, 0, "the whole log is kept");
}

/// What the log itself takes and what is allowed here end at the same length.
#[test]
fn the_longest_segment_of_the_log_is_allowed_and_a_longer_one_is_not() {
    let of = |bytes: u64| parse(&format!("{HEAD}[log]\nsegment_bytes = {bytes}\n"));
    let longest = u64::from(quorate_log::SEGMENT_BYTES_MAX);
    assert_eq!(u64::from(of(longest).unwrap().log.segment_bytes), longest);
    assert!(of(longest + 4096).is_err());
}

#[test]
fn the_template_shows_the_threads_and_the_idling_of_the_profile() {
    for (profile, threads, idle) in [
        (Profile::Colo, "dedicated", "spin"),
        (Profile::Lan, "auto", "linger"),
        (Profile::Laptop, "shared", "linger"),
    ] {
        let mut config = sample();
        config.profile = profile;
        let text = config.to_commented_toml();
        assert!(
            text.contains(&format!("# threads = \"{threads}\"\n")),
            "{text}"
        );
        assert!(text.contains(&format!("# idle = \"{idle}\"\n")), "{text}");
    }
}

#[test]
fn a_missing_path_is_named() {
    let error = parse("genesis = \"g\"\nkey = \"k\"\n").unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
}

/// It would be cut to the longest without a word.
#[test]
fn telling_again_later_than_the_longest_pause_is_refused_by_both_names() {
    let with = |text: &str| parse(&format!("{HEAD}{text}\n"));
    let laptop = "profile = \"laptop\"\n[timers]\n";
    let colo = "profile = \"colo\"\n[timers]\n";
    let own = "profile = \"colo\"\nthreads = \"dedicated\"\n[timers]\n";
    for (head, timers, shown) in [
        (laptop, "retransmit_us = 50001", 50_001),
        (laptop, "retransmit_max_us = 4999", 5_000),
        (laptop, "retransmit_us = 9\nretransmit_max_us = 8", 9),
        // Where stages share cores T_retx is that of laptop.
        (colo, "retransmit_max_us = 4999", 5_000),
        (own, "retransmit_max_us = 999", 1_000),
    ] {
        let error = with(&format!("{head}{timers}")).unwrap_err().to_string();
        let names = ["timers.retransmit_us", "timers.retransmit_max_us"];
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
        assert!(error.contains(&shown.to_string()), "{error}");
    }
    for (head, timers) in [
        (laptop, "retransmit_us = 50000"),
        (laptop, "retransmit_us = 90000\nretransmit_max_us = 90000"),
        (colo, "retransmit_max_us = 5000"),
        (own, "retransmit_max_us = 1000"),
    ] {
        assert!(with(&format!("{head}{timers}")).is_ok(), "{timers}");
    }
}

/// The longer one would count without a word.
#[test]
fn patience_above_the_longest_is_refused_by_both_names() {
    let with = |text: &str| parse(&format!("{HEAD}profile = \"laptop\"\n[timers]\n{text}\n"));
    for (timers, shown) in [
        ("progress_us = 2000001", 2_000_001),
        ("progress_max_us = 49999", 50_000),
        ("progress_us = 9\nprogress_max_us = 8", 9),
    ] {
        let error = with(timers).unwrap_err().to_string();
        let names = ["timers.progress_us", "timers.progress_max_us"];
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
        assert!(error.contains(&shown.to_string()), "{error}");
    }
    for timers in [
        "progress_us = 2000000",
        "progress_max_us = 50000",
        "progress_us = 3000000\nprogress_max_us = 3000000",
    ] {
        assert!(with(timers).is_ok(), "{timers}");
    }
}
