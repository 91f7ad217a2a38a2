//! What common commands print of a value, and how much of that can still be read.
//!
//! Every command runs twice, once with the value declared visible. From that output a reader who knows the encoding must
//! be able to get at the value, or the row proves nothing; what the same reader gets from the redacted output is the
//! result, which `src/exec/LEAKS.md` holds. `SECRET_GATE_WRITE_LEAKS=1` writes that file anew.

mod read;
mod rows;

use std::collections::BTreeSet;
use std::future::pending;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use secret_gate_core::exec::{Collected, Command, run};

use crate::{injection, variable};
use read::{Shape, most_readable};
use rows::{RARE, ROWS, Row};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/exec/LEAKS.md");

/// 32 bytes, every three of them different.
const VALUE: &str = "kJ8/xQ2+vR7=mT4&wZ9!pL3$bN6~dH1c";

/// So many bytes of a value in a row are too many to be seen.
const TOO_MANY: usize = 8;

const HEAD: &str = "# What common commands print of a secret, and what of that is redacted

Each command ran with a secret of 32 bytes in `$T`. *Caught*: fewer than 8 bytes of it in a row can be read in the output, by \
somebody who knows what the command does. *Missed*: all that the command printed of it can. *Partly*: so many bytes in a row \
can. *Nothing there*: the value can't be told from the output anyway. The tests run every command and check this page.

Whatever is missed, a command can do on purpose: redaction keeps values from being seen by accident, not from a command that \
means to disclose them. `SECRET_GATE_WRITE_LEAKS=1 cargo test -p secret-gate-core --features exec --test exec leaks` writes \
this page anew.

| command | result |
|---|---|
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_is_caught() {
    let port = listen();
    let (mut page, mut absent) = (HEAD.to_owned(), BTreeSet::new());
    let known = std::fs::read_to_string(FILE).unwrap_or_default();
    let (mut wrong, mut proves_nothing) = (Vec::new(), Vec::new());
    for row in ROWS {
        let missing: Vec<&str> = row.programs().filter(|program| !is_installed(program)).collect();
        if !missing.is_empty() {
            absent.extend(missing);
            continue;
        }
        match result(row, port).await {
            Ok(line) => {
                page.push_str(&line);
                if !known.contains(&line) {
                    wrong.push(line);
                }
            }
            Err(blind) => proves_nothing.push(blind),
        }
    }
    assert!(proves_nothing.is_empty(), "{}", proves_nothing.concat());
    if !absent.is_empty() {
        println!("LEFT OUT, since they are not installed: the commands that need {absent:?}");
        let needed: Vec<&&str> = absent.iter().filter(|program| !RARE.contains(program)).collect();
        assert!(std::env::var_os("CI").is_none() || needed.is_empty(), "not installed: {needed:?}");
    }
    if std::env::var_os("SECRET_GATE_WRITE_LEAKS").is_some() {
        assert!(absent.is_empty(), "the page needs every command");
        std::fs::write(FILE, &page).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "other results than in {FILE}:\n{}", wrong.concat());
    assert!(known.starts_with(HEAD), "another head than in {FILE}");
    let rows = known.lines().count() - HEAD.lines().count();
    assert_eq!(rows, ROWS.len(), "the page has rows that are not run");
}

/// The row of the page for this command; an error when it proves nothing.
async fn result(row: &Row, port: u16) -> Result<String, String> {
    let printed = output(row, port, true).await;
    let seen = output(row, port, false).await;
    let (all, left) = (most_readable(&printed, row.shape, VALUE), most_readable(&seen, row.shape, VALUE));
    let is_there = row.shape != Shape::Nothing;
    if is_there != (all >= TOO_MANY) {
        let shown = String::from_utf8_lossy(&printed);
        return Err(format!("{}: {all} bytes can be read in {shown}\n", row.line));
    }
    let verdict = match left {
        _ if !is_there => "nothing there".to_owned(),
        left if left >= all => "**missed**".to_owned(),
        left if left >= TOO_MANY => format!("**partly**: {left} bytes"),
        _ => "caught".to_owned(),
    };
    let shown = row.line.replace('|', "\\|");
    Ok(format!("| ``{shown}`` | {verdict} |\n"))
}

async fn output(row: &Row, port: u16, is_visible: bool) -> Vec<u8> {
    let value = injection("api/token", VALUE, variable("T"));
    let value = if is_visible { value.visible() } else { value };
    let path = std::env::var_os("PATH").unwrap();
    let env = [("PATH", path), ("PORT", port.to_string().into()), ("LC_ALL", "C.UTF-8".into())];
    let folder = tempfile::tempdir().unwrap();
    let command = Command::new(["/bin/bash", "-c", row.line], folder.path()).env(env);
    let mut output = Collected::new();
    run(command, &[value], &mut output, pending()).await.unwrap();
    let mut all = output.stdout;
    all.extend(output.stderr);
    all
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| Path::new(&folder).join(program).is_file())
}

/// A server that answers every request with nothing.
fn listen() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match connection.read(&mut piece) {
                    Ok(count) if count > 0 => request.extend_from_slice(piece.get(..count).unwrap_or_default()),
                    _ => break,
                }
            }
            connection.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").ok();
        }
    });
    port
}
