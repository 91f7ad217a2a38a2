//! Looking into a process, as its own user or as root.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Asker, Search};

/// What was tried, and what came of it.
#[derive(Debug)]
pub struct Looked(Vec<String>);

/// Looks in every way that this user has.
pub async fn as_the_user(asker: &Asker, pid: u32, search: &Search) -> Looked {
    let mut command = asker.command("/usr/bin/python3");
    command.arg("-I").arg(asker.program("look.py")).arg(pid.to_string());
    look(command, search).await
}

/// Looks through all readable memory, as root.
pub async fn through_memory(asker: &Asker, pid: u32, search: &Search) -> Looked {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-I").arg(asker.program("look.py")).arg(pid.to_string()).arg("memory");
    look(command, search).await
}

async fn look(mut command: Command, search: &Search) -> Looked {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = piped.spawn().unwrap();
    let strings: String = search.exact().iter().map(|text| data_encoding::HEXLOWER.encode(text) + "\n").collect();
    child.stdin.take().unwrap().write_all(strings.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Looked(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

impl Looked {
    /// Where the value stands.
    pub fn found(&self) -> Vec<&str> {
        self.0.iter().filter_map(|line| line.strip_prefix("found ")).collect()
    }

    /// Whether this was open to the one who looked.
    pub fn is_open(&self, what: &str) -> bool {
        self.outcome("open", what).is_some()
    }

    /// The error that kept them out of this.
    pub fn shut(&self, what: &str) -> Option<&str> {
        self.outcome("shut", what)
    }

    fn outcome(&self, outcome: &str, what: &str) -> Option<&str> {
        let lines = self.0.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        let index = lines.into_iter().position(|words| words.starts_with(&[outcome, what]))?;
        self.0[index].rsplit(' ').next()
    }

    /// How many bytes of memory were read.
    pub fn size(&self) -> u64 {
        let regions = self.0.iter().filter(|line| line.starts_with("open mem:"));
        regions.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}
