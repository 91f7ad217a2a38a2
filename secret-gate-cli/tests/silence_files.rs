//! That a value gets into no file and no log, whatever it is used for.
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

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use silence::Asker;
use support::{finish, said};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use world::World;

/// What comes and goes in the runtime folder: sockets have no content.
fn is_a_socket_that_was(asker: &Asker, path: &Path) -> bool {
    let ours = asker.path("run");
    let parts: Vec<_> = path.strip_prefix(&ours).into_iter().flatten().map(|part| part.to_str().unwrap()).collect();
    match parts.as_slice() {
        ["secret-gate.sock"] => true,
        // the folder of a private agent, and its socket
        [folder, rest @ ..] => folder.starts_with("ssh-") && matches!(rest, [] | ["agent"]),
        [] => false,
    }
}

#[tokio::test]
async fn no_file_gets_a_value() {
    let Some(world) = World::new().await else { return };
    let World { asker, searches, .. } = &world;
    // what is made in a new folder before that is watched would be missed
    asker.make_folder(".ssh");
    let mut watch = Command::new("/usr/bin/inotifywait");
    watch.args(["-m", "-r", "-e", "create,modify,moved_to,close_write", "--format", "%w%f"]).arg(asker.path(""));
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    said(&mut watch, "Watches established").await;

    let line = "printf %s \"$T\" | base64; touch \"$TMPDIR/by-the-command\"";
    assert_eq!(asker.run(&world.exec(line)).await.code, 0);
    world.ssh(async |args| asker.run(args).await).await;
    let get = ["get", "--secret", "db", "--field", "password", "--reason", "r"];
    assert_eq!(asker.run(&get).await.code, 0);
    let daemon = Pid::from_raw(i32::try_from(asker.daemon().await).unwrap()).unwrap();
    kill_process(daemon, Signal::KILL).unwrap();
    assert_eq!(asker.run(&world.exec("true")).await.code, 0, "a new daemon asks anew");

    for (search, name) in searches.iter().zip(["tmp/password", "run/key"]) {
        let form = search.exact().iter().find_map(|form| std::str::from_utf8(form).ok());
        asker.write(name, form.unwrap(), 0o600);
    }
    asker.write("tmp/end", "", 0o600);
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut touched = BTreeSet::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next_line()).await.unwrap().unwrap().unwrap();
        if Path::new(&event) == asker.path("tmp/end") {
            break;
        }
        touched.insert(PathBuf::from(event));
    }
    let mut found = Vec::new();
    for path in &touched {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                let content = std::fs::read(path).unwrap();
                found.extend(searches.iter().any(|search| search.finds(&content)).then_some(path.as_path()));
            }
            Ok(_) => {}
            Err(_) => assert!(is_a_socket_that_was(asker, path), "{} is gone, and what it held", path.display()),
        }
    }
    let planted = [asker.path("run/key"), asker.path("tmp/password")];
    assert_eq!(found, planted);
    let mut left: Vec<_> = searches.iter().flat_map(|search| search.in_files(&asker.path(""))).collect();
    left.sort();
    assert_eq!(left, planted);
    for seen in ["tmp/by-the-command", ".ssh/known_hosts", "run/secret-gate.sock", "run/secret-gate.lock"] {
        assert!(touched.contains(&asker.path(seen)), "{seen}: {touched:?}");
    }

    assert_eq!(elsewhere(asker), Vec::<PathBuf>::new());
    let planted = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    std::os::unix::fs::chown(planted.path(), Some(asker.uid()), None).unwrap();
    assert_eq!(elsewhere(asker), [planted.path()]);
}

/// The files that this user has in other folders that everybody may write to.
fn elsewhere(asker: &Asker) -> Vec<PathBuf> {
    let mut find = std::process::Command::new("/usr/bin/find");
    find.args(["/tmp", "/var/tmp", "/dev/shm", "/run", "-path"])
        .arg(asker.path("").to_str().unwrap().trim_end_matches('/'));
    find.args(["-prune", "-o", "-user", &asker.uid().to_string(), "-print"]);
    // what others remove meanwhile is an error to it
    let found = find.stderr(Stdio::null()).output().unwrap().stdout;
    String::from_utf8(found).unwrap().lines().map(PathBuf::from).collect()
}

#[tokio::test]
async fn no_log_tells_a_value() {
    let Some(world) = World::new().await else { return };
    let World { asker, searches: [search, of_key], .. } = &world;
    let program = asker.program("secret-gate");
    let logged = |log: &str| {
        let mut command = asker.command("/bin/sh");
        command.env("RUST_LOG", "trace").env("LOG", asker.path(log));
        command.args(["-c", "exec \"$0\" \"$@\" 2>>\"$LOG\""]).arg(&program);
        command
    };
    let mut daemon = logged("daemon.log").args(["daemon", "serve"]).spawn().unwrap();
    let mut ready = [0; 6];
    daemon.stdout.as_mut().unwrap().read_exact(&mut ready).await.unwrap();

    let client = async |args: &[&str]| finish(logged("client.log").args(args).spawn().unwrap()).await;
    let run = client(&world.exec("echo \"$T\" >&2; printf %s \"$T\"; exit 3")).await;
    assert_eq!((run.code, run.out.as_str()), (3, "[redacted:db/password]"), "{run:?}");
    world.ssh(client).await;
    let field = ["--field", "password", "--reason", "r"];
    let mut shown = 0;
    for args in [&["get", "--secret", "db"][..], &["--secret", "db"], &["--secret", "db", "--no-cache"]] {
        let run = client(&[args, &field].concat()).await;
        shown += usize::from(search.finds(run.out.as_bytes()));
    }
    assert_eq!(shown, 3, "where it is approved to be shown, on standard output");
    for args in [&["grants"][..], &["daemon", "status"], &["revoke", "--all"], &["daemon", "stop"]] {
        assert_eq!(client(args).await.code, 0);
    }
    daemon.wait().await.unwrap();
    let said = std::fs::read_to_string(asker.path("client.log")).unwrap();
    assert!(said.contains("waiting for the approval of db"), "{said}");
    assert!(!search.finds(said.as_bytes()) && !of_key.finds(said.as_bytes()), "{said}");
    // what it logs goes nowhere once it serves, and is looked at where it is traced
    assert_eq!(std::fs::read_to_string(asker.path("daemon.log")).unwrap(), "");
}
