//! Where no value may be: argument vectors, files, log lines.

use std::collections::BTreeSet;
use std::future::pending;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use secret_gate_core::exec::{Command, Delivery, run};

use crate::{TOKEN, collect, injection, live, pids, token};

fn in_every_way() -> [secret_gate_core::exec::Injection; 3] {
    [
        token(),
        injection("api/token", TOKEN, Delivery::Stdin),
        injection("api/token", TOKEN, Delivery::File("F".to_owned())),
    ]
}

fn holds(bytes: &[u8], value: &str) -> bool {
    bytes.windows(value.len()).any(|window| window == value.as_bytes())
}

#[tokio::test]
async fn no_argument_vector_holds_a_value() {
    let (mut output, mut seen) = live();
    let command = Command::shell("sleep 300 & echo $$ $! ready; cat $F - >/dev/null; wait", "/");
    let values = in_every_way();
    let mut running = pin!(run(command, &values, &mut output, pending()));
    let text = tokio::select! {
        text = seen.until("ready\n") => text,
        exit = &mut running => panic!("{exit:?}"),
    };
    let read = |pid: u32, what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap();
    for pid in pids(&text) {
        assert!(!holds(&read(pid, "cmdline"), TOKEN), "{pid}");
        // once: the variable, which is what was asked for
        let environment = read(pid, "environ");
        let with_value: Vec<_> = environment.split(|byte| *byte == 0).filter(|entry| holds(entry, TOKEN)).collect();
        assert_eq!(with_value, [format!("T={TOKEN}").as_bytes()]);
    }
}

fn files(under: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(under).unwrap().flatten() {
        found.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn no_file_is_made() {
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = root.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (home, temporary, cwd) = (folder("home"), folder("tmp"), folder("cwd"));
    let list = || {
        let mut found = BTreeSet::new();
        for place in [root.path().to_owned(), std::env::temp_dir(), "/dev/shm".into(), "/var/tmp".into()] {
            // what others make meanwhile in places of everybody is told by what is in it
            let Ok(entries) = std::fs::read_dir(&place) else { continue };
            found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
                path.starts_with(root.path()) || std::fs::read(path).is_ok_and(|content| holds(&content, TOKEN))
            }));
        }
        files(root.path(), &mut found);
        found
    };
    let before = list();
    let command = Command::shell("cat; cat \"$F\"; echo \"$T\"", &cwd)
        .env([("HOME", &home), ("TMPDIR", &temporary)])
        .env([("PATH", std::env::var_os("PATH").unwrap())]);
    let (exit, out, _) = collect(command, &in_every_way()).await.unwrap();
    assert_eq!(exit.code(), 0);
    assert!(out.contains("[redacted:api/token]"), "{out}");
    assert_eq!(list(), before);
    // the check itself finds what a command leaves
    collect(Command::shell("echo \"$T\" > left", &cwd), &in_every_way()).await.unwrap();
    assert_ne!(list(), before);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_and_no_debug_form_holds_a_value() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is heard");
    let values = in_every_way();
    let command = Command::new(["/bin/cat", TOKEN], "/").env([("CALLERS_OWN", TOKEN)]);
    let mut shown = format!("{command:?} {values:?}");
    let (exit, _, err) = collect(command, &values).await.unwrap();
    shown.push_str(&format!("{exit:?} {err}"));
    for failing in ["/no/such/folder", "/etc/passwd"] {
        let error = collect(Command::new(["/bin/cat", TOKEN], failing), &values).await.unwrap_err();
        shown.push_str(&format!("{error} {error:?}"));
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is heard"));
    assert!(!log.contains(TOKEN) && !shown.contains(TOKEN), "{log} {shown}");
}
