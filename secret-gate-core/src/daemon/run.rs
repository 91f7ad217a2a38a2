//! Running a command with what is held.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select_all;
use rustix::fs::{Mode, OFlags};

use super::ask::Covered;
use super::call::{Event, Exec, Failure, FailureKind, Inject, Way};
use super::caller::{Caller as _, Client};
use super::frame::Kind;
use super::holdings::{CURRENT_CODE, Found, HoldingItem, NoSeed};
use crate::exec::{self, Command, Delivery, Ended, ExecError, Exit, Injection, Output, StreamName, item_names};
use crate::{ExactCommand, Scope};

/// Kinds of fields whose values may be seen: user names, hosts, addresses.
const VISIBLE: [&str; 3] = ["STRING", "URL", "EMAIL"];

/// Runs the command; its output goes to the client as it comes.
pub(super) async fn exec(exec: Exec, covered: &Covered, client: &Client) -> Result<Event, Failure> {
    let Exec { wish, argv, working_dir, env, inject, timeout_ms, output_limit } = exec;
    let names = names(covered);
    let title = |number: usize| covered.found.get(number).and_then(Found::item).map(|item| item.title.clone());
    let name = |number: usize| names.as_ref().map_or_else(|| title(number), |names| names.get(number).cloned());
    let injections = inject.iter().map(|inject| injection(inject, covered, &wish, name(inject.secret)));
    let injections = injections.collect::<Result<Vec<_>, _>>()?;
    let mut command = Command::new(argv.into_iter().map(OsString::from), OsString::from(working_dir))
        .env(env.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
    match wish.intended_use.exec {
        Some(Scope::Any) => {}
        Some(Scope::Exact(exact)) => {
            let message = "several items have one title and one vault; use one of them at a time";
            let names = names.ok_or_else(|| Failure::new(FailureKind::Invalid, message))?;
            check_ways(&exact, &inject, &names)?;
            command = command.exactly(exact);
        }
        None => return Err(Failure::new(FailureKind::Invalid, "the approval that is wanted is not for a command")),
    }
    if let Some(timeout) = timeout_ms {
        command = command.timeout(Duration::from_millis(timeout));
    }
    if let Some(limit) = output_limit {
        command = command.output_limit(limit);
    }
    run(command, &injections, covered, client).await
}

/// Runs a command for a client. When an approval is taken back meanwhile, or the client leaves, it is told to end, and
/// killed where it does not.
pub(super) async fn run(
    mut command: Command,
    injections: &[Injection],
    covered: &Covered,
    client: &Client,
) -> Result<Event, Failure> {
    let holdings = covered.found.iter().map(|found| &found.holding);
    let revoked: Vec<_> = holdings.map(|holding| Box::pin(holding.revoked.cancelled())).collect();
    if revoked.is_empty() {
        return Err(Failure::new(FailureKind::Invalid, "no secret is named"));
    }
    if let Some(stdin) = client.take_stdin().await {
        let stdin = to_read(&stdin).map_err(|error| {
            Failure::new(FailureKind::Invalid, format!("standard input can't be read by a command: {error}"))
        })?;
        command = command.stdin(stdin);
    }
    command = command.umask(client.umask());
    client.begin()?;
    covered.spend()?;
    client.hear(&Event::Started).await;
    let cancel = async {
        tokio::select! {
            _ = select_all(revoked) => {}
            () = client.left().cancelled() => {}
        }
    };
    let exit = exec::run(command, injections, &mut PassOn(client), cancel).await.map_err(failure)?;
    if exit.ended == Ended::Cancelled && client.left().is_cancelled() {
        return Err(Failure::new(FailureKind::Withdrawn, "whoever wanted it has left; the command was ended"));
    }
    if exit.ended == Ended::Cancelled {
        return Err(Failure::new(FailureKind::Denied, "the approval was taken back; the command was killed"));
    }
    let (code, timed_out) = (exit.code(), exit.ended == Ended::TimedOut);
    let Exit { truncated, unredacted, .. } = exit;
    Ok(Event::Exited { code, timed_out, truncated: truncated.iter().map(ToString::to_string).collect(), unredacted })
}

/// What the items are called, so that none can be taken for another; `None` where that can't be.
fn names(covered: &Covered) -> Option<Vec<String>> {
    let items: Vec<_> = covered.found.iter().map(Found::item).collect::<Option<_>>()?;
    let names = item_names(&items.iter().map(|item| (item.vault.as_str(), item.title.as_str())).collect::<Vec<_>>())?;
    // a vault may hold a title twice
    let is_another = |(one, one_name): (&&HoldingItem, &String)| {
        items.iter().zip(&names).any(|(item, name)| name == one_name && item.item_id != one.item_id)
    };
    (!items.iter().zip(&names).any(is_another)).then_some(names)
}

/// Makes sure that each value gets in as it was approved: in this variable or pipe, this field, of the item where that
/// was named.
fn check_ways(exact: &ExactCommand, inject: &[Inject], names: &[String]) -> Result<(), Failure> {
    for Inject { secret, field, into } in inject {
        let name = names.get(*secret).map(String::as_str).unwrap_or_default();
        let approved = match into {
            Way::Variable(name) => exact.env.get(name),
            Way::File(name) => exact.files.get(name),
            Way::Stdin => exact.stdin.as_ref(),
        };
        let alone = names.len() == 1;
        if !approved.is_some_and(|approved| (alone && approved == field) || *approved == format!("{name}/{field}")) {
            let message = format!("{name}/{field} was not approved to get into the command in this way");
            return Err(Failure::new(FailureKind::NotGranted, message));
        }
    }
    Ok(())
}

/// The same file, to be read only: what a command wrote to it would pass by redaction.
fn to_read(stdin: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/dev/fd/{}", stdin.as_raw_fd());
    // a pipe with a name would wait for somebody to write to it, and a terminal would become the daemon's own
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    // the command waits for what it reads
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    // a file is read on from where the caller is; what has no place has none
    if let Ok(at) = rustix::fs::tell(stdin) {
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(at)).ok();
    }
    Ok(file)
}

fn injection(
    inject: &Inject,
    covered: &Covered,
    wish: &super::Wish,
    name: Option<String>,
) -> Result<Injection, Failure> {
    let Inject { secret, field: label, into } = inject;
    let wanted = wish.secrets.get(*secret).and_then(|wanted| wanted.fields.as_deref()).unwrap_or_default();
    let item = covered.found.get(*secret).and_then(Found::item);
    let item = item.ok_or_else(|| Failure::new(FailureKind::Invalid, "a value of no secret is wanted"))?;
    let may_have = wanted.is_empty() || wanted.contains(label);
    let found = item.field_of(label).zip(item.value_to_use(label)).filter(|_| may_have);
    let Some((field, value)) = found else { return Err(unknown_field(item, label)) };
    let value = value.map_err(|NoSeed| no_seed(label))?;
    let way = match into {
        Way::Variable(name) => Delivery::Variable(name.clone()),
        Way::File(name) => Delivery::File(name.clone()),
        Way::Stdin => Delivery::Stdin,
    };
    let injection = Injection::new(format!("{}/{label}", name.as_ref().unwrap_or(&item.title)), value, way);
    let may_be_seen = field.kind.as_ref().is_some_and(|kind| VISIBLE.contains(&kind.as_str()));
    Ok(if may_be_seen { injection.visible() } else { injection })
}

pub(super) fn unknown_field(item: &HoldingItem, label: &str) -> Failure {
    let fields = item.fields.iter().map(|field| field.label.clone()).collect();
    let message = format!("{} has no field {label}", item.title);
    Failure { fields, ..Failure::new(FailureKind::UnknownField, message) }
}

pub(super) fn no_seed(label: &str) -> Failure {
    let label = label.strip_suffix(CURRENT_CODE).unwrap_or(label);
    Failure::new(FailureKind::Failed, format!("{label} is no seed of one-time codes"))
}

fn failure(error: ExecError) -> Failure {
    let kind = match error {
        ExecError::Output(_) | ExecError::Lost => FailureKind::Failed,
        _ => FailureKind::Invalid,
    };
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    Failure::new(kind, causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")))
}

/// Sends the output of a command to the client of the call.
struct PassOn<'a>(&'a Client);

#[async_trait]
impl Output for PassOn<'_> {
    async fn write(&mut self, stream: StreamName, bytes: &[u8]) -> io::Result<()> {
        let kind = match stream {
            StreamName::Stdout => Kind::Output,
            StreamName::Stderr => Kind::ErrorOutput,
        };
        self.0.pass_on(kind, bytes).await;
        Ok(())
    }

    // the result says it
    async fn truncated(&mut self, _: StreamName, _: u64) -> io::Result<()> {
        Ok(())
    }
}
