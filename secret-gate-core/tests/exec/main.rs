//! Commands that use a secret, as real processes: what they get, what is seen of it, and that all of them end.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test that calls them")]

mod delivery;
mod ends;
mod exact;
mod hygiene;
mod leaks;
mod stream;

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secret_gate_core::SecretValue;
use secret_gate_core::exec::{Collected, Command, Delivery, ExecError, Exit, Injection, Output, StreamName, run};
use tokio::sync::mpsc;

/// A value in none of whose encodings anything else can be found.
const TOKEN: &str = "s3cret/T0ken+with=32&characters!";

fn injection(label: &str, value: &str, delivery: Delivery) -> Injection {
    Injection::new(label, SecretValue::copy_of(value), delivery)
}

/// The token, in `$T`.
fn token() -> Injection {
    injection("api/token", TOKEN, variable("T"))
}

fn variable(name: &str) -> Delivery {
    Delivery::Variable(name.to_owned())
}

/// This line, with the `PATH` of the tests.
fn shell(line: &str) -> Command {
    Command::shell(line, "/").env([("PATH", std::env::var_os("PATH").unwrap())])
}

async fn collect(command: Command, injections: &[Injection]) -> Result<(Exit, String, String), ExecError> {
    let mut output = Collected::new();
    let running = run(command, injections, &mut output, pending());
    let exit = tokio::time::timeout(Duration::from_secs(100), running).await.unwrap()?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok((exit, text(output.stdout), text(output.stderr)))
}

/// What a line prints, with these values.
async fn printed(line: &str, injections: &[Injection]) -> String {
    collect(shell(line), injections).await.unwrap().1
}

/// Output that the test takes while the command runs.
struct Live(mpsc::UnboundedSender<(StreamName, Vec<u8>)>);

#[async_trait]
impl Output for Live {
    async fn write(&mut self, stream: StreamName, bytes: &[u8]) -> io::Result<()> {
        self.0.send((stream, bytes.to_vec())).map_err(io::Error::other)
    }

    async fn truncated(&mut self, _: StreamName, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The other end of [`Live`].
struct Seen(mpsc::UnboundedReceiver<(StreamName, Vec<u8>)>);

impl Seen {
    /// Standard output up to the moment when it ends like this.
    async fn until(&mut self, end: &str) -> String {
        let mut seen = String::new();
        let reading = async {
            while !seen.ends_with(end) {
                let (stream, bytes) = self.0.recv().await.unwrap();
                if stream == StreamName::Stdout {
                    seen.push_str(std::str::from_utf8(&bytes).unwrap());
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
        seen
    }
}

fn live() -> (Live, Seen) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Live(sender), Seen(receiver))
}

/// Whether a process with this number runs; one that has ended and was not reaped does not.
fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !matches!(stat.rsplit(')').next().unwrap().split_whitespace().next().unwrap(), "Z" | "X")
}

/// Waits for all of these to end.
async fn all_gone(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = pids.iter().find(|pid| runs(**pid)) {
        assert!(Instant::now() < deadline, "{pid} of {pids:?} runs on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pids(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
