use suture_rollout::cohort::{Draw, Seed, UnitDigest, verify};
use suture_rollout::{DrawRecord, InvalidDraw, Place, Unit};

use crate::support::{monday, rollout};

fn seed(number: u8) -> Seed {
    Seed::from_random_bytes([number; 32])
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("account-{number}"))
        .collect()
}

fn list(count: usize, id: u8) -> Vec<UnitDigest> {
    names(count)
        .iter()
        .map(|name| UnitDigest::new(rollout(id), name))
        .collect()
}

/// A revealed record of a draw of five of a hundred.
fn record() -> DrawRecord {
    let draw = Draw::new(&seed(7), list(100, 1), 0.05, monday());
    let mut units: Vec<String> = list(100, 1).iter().map(ToString::to_string).collect();
    units.sort_unstable();
    DrawRecord {
        rollout: rollout(1),
        version: Some("104.1".parse().unwrap()),
        at: draw.at,
        unit: Unit::Account,
        commitment: seed(7).commitment(rollout(1)).to_string(),
        list_sha256: draw.list_sha256,
        eligible: draw.eligible,
        drawn: draw.drawn,
        share: 0.05,
        seed: Some(seed(7).reveal()),
        units: Some(units),
    }
}

#[test]
fn a_draw_follows_from_seed_and_list_alone() {
    let mut shuffled = list(100, 1);
    shuffled.reverse();
    shuffled.push(shuffled[3]);
    assert_eq!(
        Draw::new(&seed(7), shuffled, 0.05, monday()),
        Draw::new(&seed(7), list(100, 1), 0.05, monday())
    );
}

#[test]
fn the_share_is_drawn_exactly_rounded_up() {
    for (count, share, drawn) in [
        (100, 0.05, 5),
        (101, 0.05, 6),
        (3, 0.01, 1),
        (0, 0.01, 0),
        (10, 0.0, 0),
        (10, 1.0, 10),
    ] {
        let draw = Draw::new(&seed(7), list(count, 1), share, monday());
        let included = list(count, 1)
            .into_iter()
            .filter(|unit| draw.includes(seed(7).rank(*unit)));
        assert_eq!(draw.drawn, drawn);
        assert_eq!(included.count() as u64, drawn);
    }
}

/// Two hundred draws of a tenth of fifty accounts: each is drawn twenty times, give or take.
#[test]
fn everyone_is_drawn_equally_often() {
    let mut times = [0_u32; 50];
    for number in 0..200 {
        let seed = seed(number);
        let units = list(50, number);
        let draw = Draw::new(&seed, units.clone(), 0.1, monday());
        for (unit, times) in units.iter().zip(&mut times) {
            *times += u32::from(draw.includes(seed.rank(*unit)));
        }
    }
    let chi_square: f64 = times
        .iter()
        .map(|times| (f64::from(*times) - 20.0).powi(2) / (20.0 * 0.9))
        .sum();
    // 0.1 % and 99.9 % points with 49 degrees of freedom.
    assert!((23.98..85.35).contains(&chi_square), "{chi_square}");
}

#[test]
fn another_rollout_draws_others() {
    let drawn = |id: u8, secret: u8| -> Vec<usize> {
        let units = list(1_000, id);
        let draw = Draw::new(&seed(secret), units.clone(), 0.02, monday());
        (0..1_000)
            .filter(|number| draw.includes(seed(secret).rank(units[*number])))
            .collect()
    };
    assert_ne!(drawn(1, 1), drawn(1, 2), "another seed");
    assert_ne!(drawn(1, 1), drawn(2, 1), "another rollout");
}

#[test]
fn a_record_is_checked_by_anyone() {
    let record = record();
    assert_eq!(record.verify(), Ok(()));
    let json = serde_json::to_string(&record).unwrap();
    let read: DrawRecord = serde_json::from_str(&json).unwrap();
    assert_eq!(read, record);
    let places: Vec<Place> = names(100)
        .iter()
        .map(|name| read.place(name).unwrap())
        .collect();
    let drawn = places.iter().filter(|place| **place == Place::Drawn);
    assert_eq!(drawn.count(), 5);
    assert!(!places.contains(&Place::NotListed));
    assert_eq!(read.place("account-100"), Ok(Place::NotListed));
}

#[test]
fn before_the_end_there_is_nothing_to_check() {
    let mut record = record();
    record.seed = None;
    assert_eq!(record.verify(), Err(InvalidDraw::NotRevealed));
    assert_eq!(record.place("account-1"), Err(InvalidDraw::NotRevealed));
}

#[test]
fn a_changed_record_does_not_pass() {
    let mut other_seed = record();
    other_seed.seed = Some(seed(8).reveal());
    assert!(matches!(
        other_seed.verify(),
        Err(InvalidDraw::OtherSeed { .. })
    ));

    let mut one_more = record();
    let stranger = UnitDigest::new(rollout(1), "a friend").to_string();
    one_more.units.as_mut().unwrap().push(stranger);
    assert!(matches!(
        one_more.verify(),
        Err(InvalidDraw::OtherList { .. })
    ));

    let mut fewer = record();
    fewer.drawn = 4;
    assert_eq!(
        fewer.verify(),
        Err(InvalidDraw::OtherDrawn {
            published: 4,
            found: 5
        })
    );

    let mut unreadable = record();
    unreadable.units.as_mut().unwrap()[0] = "?".to_owned();
    assert_eq!(
        unreadable.verify(),
        Err(InvalidDraw::Unreadable { field: "units" })
    );
}

#[test]
fn a_stored_draw_is_checked_down_to_its_last_rank() {
    let (seed, units) = (seed(7), list(100, 1));
    let commitment = seed.commitment(rollout(1));
    let draw = Draw::new(&seed, units.clone(), 0.05, monday());
    let check = |draw: &Draw| verify(&seed, rollout(1), commitment, &units, draw, 0.05);
    assert_eq!(check(&draw), Ok(()));
    let other = Draw {
        last: Draw::new(&seed, units.clone(), 0.06, monday()).last,
        ..draw.clone()
    };
    assert_eq!(check(&other), Err(InvalidDraw::OtherLast));
}

#[test]
fn a_commitment_binds_seed_and_rollout() {
    let commitment = seed(7).commitment(rollout(1));
    assert_ne!(commitment, seed(8).commitment(rollout(1)));
    assert_ne!(commitment, seed(7).commitment(rollout(2)));
    assert_eq!(commitment.to_string().parse(), Ok(commitment));
}

#[test]
fn no_log_shows_a_seed() {
    assert_eq!(format!("{:?}", seed(7)), "Seed(..)");
}
