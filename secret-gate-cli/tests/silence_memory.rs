//! The daemon's memory, all that root can read of it: values stand there for as long as an approval is held, and no longer.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod silence;
#[expect(
    dead_code,
    clippy::panic,
    clippy::print_stderr,
    reason = "made for the tests of the library, which use more of it"
)]
#[path = "../../secret-gate-core/tests/ssh/support.rs"]
mod sshd;
mod support;
#[path = "silence/world.rs"]
mod world;

use std::time::{Duration, Instant};

use silence::look::{Looked, through_memory};
use world::World;

/// What the daemon's memory holds of the password and of the key.
async fn look(world: &World) -> [Looked; 2] {
    let daemon = world.asker.daemon().await;
    let [password, key] = &world.searches;
    [through_memory(&world.asker, daemon, password).await, through_memory(&world.asker, daemon, key).await]
}

/// Has the daemon hold a password and a key, kept for so long, and use them in every way that leads through its memory.
async fn use_it_all(world: &World, keep: &str) {
    let keep = ["--keep", keep];
    let line = "printf %s \"$T\"; printf %s \"$T\" | base64; printf %s \"$T\" | rev >&2";
    let exec = [&world.exec(line)[..], &keep].concat();
    let get = [&["get", "--secret", "db", "--field", "password", "--reason", "r"][..], &keep].concat();
    for args in [&exec, &get, &exec] {
        let run = world.asker.run(args).await;
        assert_eq!(run.code, 0, "{run:?}");
    }
    world
        .ssh(async |args| {
            let (ssh, rest) = args.split_first().unwrap();
            world.asker.run(&[&[*ssh][..], &keep, rest].concat()).await
        })
        .await;
}

/// How many approvals are held.
async fn held(world: &World) -> usize {
    let run = world.asker.run(&["grants", "--format", "json"]).await;
    serde_json::from_str::<serde_json::Value>(&run.out).unwrap().as_array().unwrap().len()
}

/// Waits until none is held any more.
async fn ended(world: &World) {
    let start = Instant::now();
    while held(world).await > 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "approvals do not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes sure that nothing is left.
async fn is_gone(world: &World, how: &str) {
    assert_eq!(held(world).await, 0, "{how}");
    for looked in look(world).await {
        assert!(looked.size() > 4 * 1024 * 1024, "{looked:?}");
        assert_eq!(looked.found(), Vec::<&str>::new(), "{how}");
    }
}

#[tokio::test]
async fn what_is_held_stands_in_memory_until_it_is_taken_back() {
    let Some(world) = World::new().await else { return };
    for how in [&["daemon", "flush"][..], &["revoke", "--all"], &["the server's word"]] {
        use_it_all(&world, "1h").await;
        let [password, key] = look(&world).await;
        assert!(!password.found().is_empty() && !key.found().is_empty(), "{how:?}");
        if how.len() == 1 {
            let gated = &world.gated;
            for number in (0..gated.human.count()).rev().take(3) {
                gated.gate.revoke(&gated.human.asked(number).await.question.id).await.unwrap();
            }
            ended(&world).await;
        } else {
            assert_eq!(world.asker.run(how).await.code, 0);
        }
        is_gone(&world, &format!("{how:?}")).await;
    }
}

#[tokio::test]
async fn of_no_kind_of_key_is_anything_left() {
    for kind in ["rsa", "ecdsa"] {
        let Some(world) = World::with(kind).await else { return };
        use_it_all(&world, "1h").await;
        let [_, key] = look(&world).await;
        assert!(!key.found().is_empty(), "{kind}");
        assert_eq!(world.asker.run(&["daemon", "flush"]).await.code, 0);
        is_gone(&world, kind).await;
    }
}

#[tokio::test]
async fn what_is_held_is_gone_when_its_time_is_up() {
    let Some(world) = World::new().await else { return };
    // on a machine that is too slow to look at it meanwhile, it is kept longer
    for keep in ["6s", "30s", "90s"] {
        use_it_all(&world, keep).await;
        let [password, key] = look(&world).await;
        if held(&world).await == 3 {
            assert!(!password.found().is_empty() && !key.found().is_empty());
            ended(&world).await;
            return is_gone(&world, "its time is up").await;
        }
        ended(&world).await;
    }
    panic!("this machine is too slow to look into memory within 90 s");
}
