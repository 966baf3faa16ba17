//! What a piece lacks another one may have; what all lack is missed.

use super::*;

const NAME: &str = "mixed-4";
/// Two of all that a long sweep of it has to show: an action of a rule, and a fault.
const OF_A_RULE: &str = "r6_also";
const A_FAULT: &str = "lost_disks";

/// A row of so many seeds in which everything happened once but this.
fn row(seeds: Range<u64>, lacking: &str) -> Row {
    let night = whole();
    let sweep = night.iter().find(|sweep| sweep.name == NAME).unwrap();
    let options = SweepOptions {
        seeds: seeds.clone(),
        ..sweep.options.clone()
    };
    let all = Shown::default().unreached(options.scenario, &options.byzantine);
    let zero = serde_json::to_value(Shown::default().faults).unwrap();
    let faults = zero.as_object().unwrap().keys();
    let faults = faults.map(|name| (name.clone(), u64::from(name != lacking)));
    let faults: BTreeMap<String, u64> = faults.collect();
    let rules = all.iter().filter(|name| !faults.contains_key(**name));
    let reached = rules.filter(|name| **name != lacking);
    let reached: BTreeMap<&str, u64> = reached.map(|&name| (name, 1)).collect();
    let shown = serde_json::json!({ "reached": reached, "faults": faults });
    Row {
        name: NAME.to_owned(),
        command: command(&options),
        first: seeds.start,
        seeds: seeds.end - seeds.start,
        steps: 0,
        violations: 0,
        stuck: 0,
        shown: serde_json::from_value(shown).unwrap(),
    }
}

fn sum(rows: &[Row]) -> Result<Sums, String> {
    let mut adding = Adding::new();
    for row in rows {
        let piece = Piece {
            sweeps: vec![row.clone()],
            images: None,
        };
        adding.add(piece)?;
    }
    Ok(adding.finish(rows.len()))
}

#[test]
fn two_pieces_that_lack_different_things_are_good_and_that_lack_the_same_are_not() {
    for name in [OF_A_RULE, A_FAULT] {
        let whole = [row(0..600, ""), row(5_000..5_600, "")];
        assert!(sum(&whole).unwrap().is_good());
        let other = if name == A_FAULT { OF_A_RULE } else { A_FAULT };
        let each = [row(0..600, name), row(5_000..5_600, other)];
        assert!(sum(&each).unwrap().is_good());
        let same = [row(0..600, name), row(5_000..5_600, name)];
        let sums = sum(&same).unwrap();
        assert!(!sums.is_good());
        assert_eq!(sums.sweeps[0].unreached, [name]);
        // Too few seeds to be asked for anything.
        let few = [row(0..400, name), row(5_000..5_400, name)];
        assert!(sum(&few).unwrap().is_good());
    }
}

#[test]
fn what_an_actor_never_did_in_any_piece_is_missed() {
    let piece = |first: u64, deeds: &serde_json::Value| {
        let night = whole();
        let is_meant = |sweep: &&Sweep| sweep.name == "lazy-4";
        let options = &night.iter().find(is_meant).unwrap().options;
        let seeds = first..first + 30;
        let options = SweepOptions {
            seeds,
            ..options.clone()
        };
        let mut of_lazy = serde_json::to_value(quorate_sim::ActorCounts::default()).unwrap();
        of_lazy["played"] = 30.into();
        of_lazy["deeds"] = deeds.clone();
        let mut shown = serde_json::to_value(Shown::default()).unwrap();
        shown["actors"] = serde_json::json!({ "lazy": of_lazy });
        Row {
            name: "lazy-4".to_owned(),
            command: command(&options),
            first,
            seeds: 30,
            shown: serde_json::from_value(shown).unwrap(),
            ..row(0..1, "")
        }
    };
    let idle = serde_json::json!({});
    assert!(sum(&[piece(0, &idle)]).unwrap().is_good(), "played too few");
    let sums = sum(&[piece(0, &idle), piece(30, &idle)]).unwrap();
    assert!(!sums.is_good());
    let lacking = &sums.sweeps[0].inert;
    assert!(!lacking.is_empty());
    // `lazy: delayed vote`, and so on.
    let mut deeds = BTreeMap::<&str, BTreeMap<&str, u64>>::new();
    for one in lacking {
        let (deed, what) = one.strip_prefix("lazy: ").unwrap().split_once(' ').unwrap();
        deeds.entry(deed).or_default().insert(what, 1);
    }
    let busy = serde_json::to_value(deeds).unwrap();
    let one_of_them = [piece(0, &idle), piece(30, &busy)];
    assert!(sum(&one_of_them).unwrap().is_good());
}

#[test]
fn what_went_wrong_in_any_piece_is_wrong_in_all() {
    for change in [
        |row: &mut Row| row.violations = 1,
        |row: &mut Row| row.stuck = 1,
    ] {
        let mut wrong = row(0..600, "");
        change(&mut wrong);
        assert!(!sum(&[wrong, row(600..1_200, "")]).unwrap().is_good());
    }
}

#[test]
fn seeds_that_two_rows_have_and_sweeps_that_no_night_has_are_refused() {
    let refused = |rows: &[Row]| sum(rows).err().unwrap();
    let twice = [row(0..600, ""), row(599..1_000, "")];
    assert!(refused(&twice).contains("599..1000 and 0..600"));
    let beside = [row(0..600, ""), row(600..1_200, "")];
    assert!(sum(&beside).is_ok());
    let mut unknown = row(0..600, "");
    unknown.name = "mixed-5000".to_owned();
    assert!(refused(&[unknown]).contains("no sweep mixed-5000"));
    let mut other = row(0..600, "");
    other.command = other.command.replace("mixed", "calm");
    assert!(refused(&[other]).contains("is not what a night of this version"));
    let mut endless = row(0..600, "");
    endless.first = u64::MAX;
    assert!(refused(&[endless]).contains("without end"));
}

#[test]
fn what_is_in_no_piece_is_named() {
    let sums = sum(&[row(0..600, "")]).unwrap();
    let absent = &sums.absent;
    assert!(absent.contains(&"join-4".to_owned()) && !absent.contains(&NAME.to_owned()));
    assert!(sums.text().contains("in no piece: "));
}

fn sum_with_images(images: &[Images]) -> Result<Sums, String> {
    let mut adding = Adding::new();
    for images in images {
        adding.add(Piece {
            sweeps: Vec::new(),
            images: Some(images.clone()),
        })?;
    }
    Ok(adding.finish(images.len()))
}

#[test]
fn images_are_counted_once_are_missed_and_are_good_only_where_none_is_bad() {
    let good = Images {
        images: 100,
        first: 10,
        end: 20,
        lost: 0,
        wrong_cuts: 0,
        mistaken_for_damage: 0,
    };
    let after = Images {
        first: 20,
        end: 30,
        ..good.clone()
    };
    let sums = sum_with_images(&[good.clone(), after.clone()]).unwrap();
    assert_eq!((sums.images, sums.is_good()), (200, true));
    assert!(!sums.absent.contains(&"images".to_owned()));
    let none = sum(&[row(0..600, "")]).unwrap();
    assert_eq!(none.absent.last().unwrap(), "images");
    let twice = sum_with_images(&[
        good.clone(),
        Images {
            first: 19,
            ..after.clone()
        },
    ]);
    assert!(twice.is_err_and(|what| what.contains("19..30") && what.contains("10..20")));
    let bad: [fn(&mut Images); 3] = [
        |images| images.lost = 1,
        |images| images.wrong_cuts = 1,
        |images| images.mistaken_for_damage = 1,
    ];
    for spoil in bad {
        let mut images = after.clone();
        spoil(&mut images);
        let sums = sum_with_images(&[good.clone(), images]).unwrap();
        assert_eq!((sums.bad_images, sums.is_good()), (1, false));
    }
}

#[test]
fn few_seeds_are_told_to_be_too_few_to_be_asked() {
    let few = sum(&[row(0..400, OF_A_RULE)]).unwrap();
    assert!(!few.sweeps[0].is_asked && few.text().contains("too few"));
    let many = sum(&[row(0..SEEDS_FOR_ALL, "")]).unwrap();
    assert!(many.sweeps[0].is_asked && !many.text().contains("too few"));
}
