//! The whole target with many initiators, from one seed: the shipped protocol, sessions and logical units, over a disk that
//! is slow, freezes, fails and loses its power. Initiators are well-behaved, race for a block, take nothing of what they asked
//! for, send rubbish, go away and come back. Models check what the well-behaved see:
//!
//! - each block is linearizable, and COMPARE AND WRITE has one winner;
//! - what was flushed is there after a power cut;
//! - every nexus is told once of what it has to know;
//! - each command is answered within a bound, or its session ends.

mod actors;
mod history;
#[path = "../model/mod.rs"]
#[allow(dead_code, reason = "its blocks are those of other runs")]
mod model;
mod plants;
mod session;
mod world;

use std::rc::Rc;

use iesp_simulator::node::{self, Disk, Fault, Listener};
use iesp_simulator::time::{Pace, Tasks, now_us};

use actors::{Actor, Dice, UNREADABLE};
use world::{BLOCKS, LUNS, World};

/// Places for connections: one for each actor, and some for those that come back while they are still there.
const CONNECTIONS: usize = 12;

/// An hour of virtual time: a run that needs more hangs.
const LONGEST_US: u64 = 3_600_000_000;

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    commands: u64,
    sessions: u64,
    swaps: u64,
    told: u64,
    p99_us: u32,
    digest: u64,
}

fn planted() -> Option<Fault> {
    match std::env::var("IESP_PLANT").as_deref() {
        Err(_) => None,
        Ok("forget") => Some(Fault::Forget),
        Ok("lose") => Some(Fault::Lose),
        Ok("stale") => Some(Fault::Stale),
        Ok(other) => panic!("IESP_PLANT={other}: it is forget, lose or stale"),
    }
}

/// Runs `cuts` times until so many commands were answered and the power is cut.
fn run(seed: u64, cuts: u64, commands: u64) -> Report {
    let world = Rc::new(World::default());
    let disk = Disk::new(u32::from(LUNS) * BLOCKS, seed, planted());
    for cut in 0..=cuts {
        let (mut writes, mut reads) = (vec![0; 8192], vec![0; 8192]);
        let caches = (&mut writes[..], &mut reads[..]);
        let starting = node::target::<CONNECTIONS>(&disk, LUNS.into(), BLOCKS, caches, seed ^ cut);
        let target = iesp_simulator::run(starting);
        let listener = Listener::default();
        let mut tasks = Tasks::new();
        for place in 0..CONNECTIONS {
            let (target, listener) = (&target, listener.clone());
            tasks.spawn(async move { node::serve(target, place, listener).await });
        }
        disk.fail(0..0);
        if cut > 0 {
            let audit = actors::audit(listener.clone(), Rc::clone(&world));
            tasks.finish(Pace::Virtual, now_us() + LONGEST_US, audit).expect("the audit comes to its end");
        }
        if cut == cuts {
            break;
        }
        let first = u32::from(LUNS - 1) * BLOCKS;
        disk.fail(first + UNREADABLE.start as u32..first + UNREADABLE.end as u32);
        spawn(&mut tasks, &world, &listener, &disk, seed << 16 | cut << 8);
        let goal = world.commands.get() + commands;
        let done = tasks.run(Pace::Virtual, now_us() + LONGEST_US, || world.commands.get() >= goal);
        assert!(done, "{} of {goal} commands in an hour", world.commands.get());
        // Power off.
        drop(tasks);
        world.history.borrow_mut().check();
        disk.cut_power();
        world.restart();
    }
    let mut latencies = world.latencies.borrow_mut();
    latencies.sort_unstable();
    let p99_us = latencies[latencies.len() * 99 / 100];
    let (commands, sessions) = (world.commands.get(), world.sessions.get());
    Report { commands, sessions, swaps: world.swaps.get(), told: world.told.get(), p99_us, digest: world.digest.get() }
}

fn spawn(tasks: &mut Tasks<'_>, world: &Rc<World>, listener: &Listener, disk: &Disk, seed: u64) {
    let actor = |number: u8, delay_us| Actor {
        world: Rc::clone(world),
        listener: listener.clone(),
        number,
        dice: Dice::new(seed | u64::from(number)),
        delay_us,
    };
    tasks.spawn(actor(1, 50).behave_well(4, false));
    tasks.spawn(actor(2, 200).behave_well(8, false));
    tasks.spawn(actor(3, 20_000).behave_well(16, false));
    tasks.spawn(actor(4, 50).behave_well(1, true));
    tasks.spawn(actor(5, 100).behave_well(8, true));
    tasks.spawn(actor(6, 100).administrate());
    tasks.spawn(actor(7, 100).be_deaf());
    tasks.spawn(actor(8, 100).be_hostile());
    tasks.spawn(actors::freeze(disk.clone(), Dice::new(seed)));
}

#[test]
fn many_initiators_see_one_disk() {
    model::each_seed(30, ("many", "many_initiators_see_one_disk"), |seed| {
        let report = run(seed, 3, 1_500);
        println!("seed {seed}: {report:?}");
        assert!(report.sessions > 15 && report.swaps > 20 && report.told > 20, "{report:?}");
        // Without the moments in which the disk is frozen commands take a few milliseconds.
        assert!(report.p99_us < 1_000_000, "{report:?}");
    });
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(run(3, 1, 500), run_again(3, 1, 500));
}

/// In a thread of its own the time begins at 0 again.
fn run_again(seed: u64, cuts: u64, commands: u64) -> Report {
    std::thread::spawn(move || run(seed, cuts, commands)).join().expect("the run")
}

#[test]
#[ignore = "ten million commands take a while"]
fn ten_million_commands_and_ten_thousand_sessions() {
    let (mut commands, mut sessions) = (0, 0);
    let seeds = ("many", "ten_million_commands_and_ten_thousand_sessions");
    let all = model::each_seed(500, seeds, |seed| {
        let report = run(1_000 + seed, 4, 5_000);
        (commands, sessions) = (commands + report.commands, sessions + report.sessions);
        if seed % 20 == 0 {
            println!("seed {seed}: {commands} commands, {sessions} sessions, p99 {} µs", report.p99_us);
        }
    });
    assert!(!all || commands >= 10_000_000 && sessions >= 10_000, "{commands} commands, {sessions} sessions");
}
