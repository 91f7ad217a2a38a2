//! Keys in the callers' own ssh-agents: there while an approval lasts that lets any login use them, and no longer.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::Covered;
use super::call::{Failure, FailureKind};
use super::holdings::{Found, Holding};
use super::ssh::is_key;
use crate::clock::Clock;
use crate::ssh::{AgentError, KeyError, SshKey, SshPublicKey, UserAgent};
use crate::sync::lock;
use crate::{Grant, Scope};

/// How the comments of our keys begin; one that the user added has another one, and is left alone.
const COMMENT: &str = "secret-gate: ";

/// How long a caller waits for an agent; some ask their user first.
const PATIENCE: Duration = Duration::from_secs(8);

/// The agents that were given keys. A handle: clones are the same.
#[derive(Debug, Clone)]
pub(super) struct UserAgents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    /// What each agent was given; locked while it is talked to.
    agents: Mutex<HashMap<Identity, Weak<Given>>>,
    /// What is under way for each approval, by its id.
    stays: Mutex<HashMap<String, Stay>>,
}

type Given = tokio::sync::Mutex<HashMap<SshPublicKey, Lent>>;

/// A key that an agent was given.
#[derive(Debug)]
struct Lent {
    /// Until when, as the agent was told.
    until: SystemTime,
    /// The approvals that let it lie there, by their ids, and when they end.
    under: HashMap<String, SystemTime>,
}

/// The keys of one approval, from being added until they have left.
#[derive(Debug, Clone, Default)]
struct Stay {
    tasks: TaskTracker,
    /// Why one could not be taken out.
    failed: Arc<Mutex<Option<String>>>,
}

/// Device and number of an agent's socket: it is one agent under however many paths.
type Identity = (u64, u64);

/// An agent: a path to its socket, and which one lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    socket: PathBuf,
    identity: Identity,
}

impl Place {
    /// The agent there, whose socket must belong to this user.
    fn at(socket: &Path) -> Result<Self, String> {
        if !socket.is_absolute() {
            return Err("SSH_AUTH_SOCK is no absolute path".into());
        }
        let problem = |problem: &str| format!("SSH_AUTH_SOCK names {}, {problem}", socket.display());
        let about = std::fs::metadata(socket).map_err(|error| problem(&format!("which can't be used: {error}")))?;
        if !about.file_type().is_socket() {
            return Err(problem("which is no socket"));
        }
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(problem("which belongs to another user"));
        }
        Ok(Self { socket: socket.to_owned(), identity: (about.dev(), about.ino()) })
    }

    fn agent(&self) -> UserAgent {
        UserAgent::at(&self.socket)
    }
}

/// A key on its way to an agent.
struct Guest {
    key: SshKey,
    comment: String,
    grant: String,
    until: SystemTime,
    revoked: CancellationToken,
}

impl UserAgents {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { clock, agents: Mutex::default(), stays: Mutex::default() }) }
    }

    /// Adds the keys among what was found to the agent on this socket, for what is left of their approvals; says what
    /// did not go well. Once under each approval, so that the user may remove one.
    pub(super) async fn add(&self, covered: &Covered, socket: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        let guests: Vec<Guest> = covered.found.iter().flat_map(|found| guests(found, &mut notes)).collect();
        if guests.is_empty() {
            return notes;
        }
        let place = match Place::at(socket) {
            Ok(place) => place,
            Err(problem) => {
                notes.push(format!("the key was not added to your ssh-agent: {problem}"));
                return notes;
            }
        };
        for guest in guests {
            let (title, tasks) = (guest.comment.clone(), self.inner.stay(&guest.grant).tasks);
            let title = title.strip_prefix(COMMENT).unwrap_or_default();
            // to its end, whoever leaves meanwhile: a key that an agent has is known here
            let adding = tasks.spawn(Arc::clone(&self.inner).add(place.clone(), guest));
            match tokio::time::timeout(PATIENCE, adding).await {
                Ok(Ok(Err(error))) => notes.push(format!("{title} was not added to your ssh-agent: {error}")),
                Err(_) => notes.push(format!("{title} is not in your ssh-agent yet, which does not answer")),
                Ok(_) => {}
            }
        }
        notes
    }

    /// Waits until no agent has a key of these, which were taken back.
    pub(super) async fn emptied(&self, ended: &[Arc<Holding>]) -> Result<(), Failure> {
        let mut failed = None;
        let stays: Vec<Stay> = {
            let stays = lock(&self.inner.stays);
            ended.iter().filter_map(|holding| stays.get(&holding.grant.id).cloned()).collect()
        };
        let waiting = async {
            for stay in stays {
                stay.tasks.close();
                stay.tasks.wait().await;
                failed = lock(&stay.failed).take().or(failed.take());
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            failed = Some("your ssh-agent does not answer".into());
        }
        failed.map_or(Ok(()), |problem| {
            let message = format!(
                "it is forgotten here, but a key may stay in your ssh-agent until its lifetime ends: {problem}; ssh-add \
                 -D removes all keys"
            );
            Err(Failure::new(FailureKind::Failed, message))
        })
    }
}

/// The keys of an item that may lie in an agent: any login can use them there, as often as it likes.
fn guests(found: &Found, notes: &mut Vec<String>) -> Vec<Guest> {
    let Holding { grant, revoked, .. } = found.holding.as_ref();
    let Some(item) = found.item().filter(|_| lets_any_login(grant)) else { return Vec::new() };
    let mut guests = Vec::new();
    for field in item.fields.iter().filter(|field| is_key(field)) {
        let title = format!("{}/{}", item.title, field.label);
        match SshKey::parse(&field.value) {
            Ok(key) => guests.push(Guest {
                key,
                comment: format!("{COMMENT}{title}"),
                grant: grant.id.clone(),
                until: grant.expires_at,
                revoked: revoked.clone(),
            }),
            // called so, and something else
            Err(KeyError::NotAKey | KeyError::Public) => {}
            Err(error) => notes.push(format!("{title} was not added to your ssh-agent: {error}")),
        }
    }
    guests
}

/// Whether the value is the caller's anyway, or any host was approved. A single use can't be told to an agent.
fn lets_any_login(grant: &Grant) -> bool {
    !grant.once && (grant.allowed.reveal || matches!(grant.allowed.ssh, Some(Scope::Any)))
}

impl Inner {
    /// What is under way for this approval.
    fn stay(&self, grant: &str) -> Stay {
        let mut stays = lock(&self.stays);
        stays.retain(|_, stay| !stay.tasks.is_empty());
        stays.entry(grant.to_owned()).or_default().clone()
    }

    fn given(&self, place: &Place) -> Arc<Given> {
        let mut agents = lock(&self.agents);
        agents.retain(|_, given| given.strong_count() > 0);
        let known = agents.get(&place.identity).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let given = Arc::default();
            agents.insert(place.identity, Arc::downgrade(&given));
            given
        })
    }

    async fn add(self: Arc<Self>, place: Place, guest: Guest) -> Result<(), AgentError> {
        let Guest { key, comment, grant, until, revoked } = guest;
        let shared = self.given(&place);
        let mut given = shared.lock().await;
        let left = until.duration_since(self.clock.now()).unwrap_or_default();
        // an agent counts whole seconds
        if revoked.is_cancelled() || left < Duration::from_secs(1) {
            return Ok(());
        }
        let agent = place.agent();
        let told = match given.get(key.public()) {
            Some(lent) if lent.under.contains_key(&grant) => return Ok(()),
            Some(lent) if lent.until >= until => lent.until,
            Some(_) => agent.add(&key, &comment, left).await.map(|()| until)?,
            None => {
                let there = agent.list().await?.into_iter().find(|known| known.public == *key.public());
                // what a daemon left behind that was killed gets the lifetime of this approval
                if there.is_some_and(|known| !known.comment.starts_with(COMMENT)) {
                    return Ok(());
                }
                agent.add(&key, &comment, left).await.map(|()| until)?
            }
        };
        let lent = given.entry(key.public().clone()).or_insert_with(|| Lent { until, under: HashMap::new() });
        lent.until = told;
        lent.under.insert(grant.clone(), until);
        drop(given);

        let public = key.public().clone();
        let stay = self.stay(&grant);
        stay.tasks.clone().spawn(async move {
            tokio::select! {
                () = revoked.cancelled() => {}
                () = self.clock.sleep_until(until) => {}
            }
            if let Err(error) = take_out(&place, &shared, &public, &grant).await {
                tracing::warn!(%error, %grant, "a key could not be removed from an ssh-agent");
                *lock(&stay.failed) = Some(error.to_string());
            }
        });
        Ok(())
    }
}

/// Takes a key out of an agent when its approval has ended, unless it is there under another one for as long.
async fn take_out(place: &Place, given: &Given, key: &SshPublicKey, grant: &str) -> Result<(), AgentError> {
    let mut given = given.lock().await;
    let Some(lent) = given.get_mut(key) else { return Ok(()) };
    lent.under.remove(grant);
    if lent.under.values().max().is_some_and(|last| *last >= lent.until) {
        return Ok(());
    }
    // the next call under another approval adds it again, for as long as that one lasts
    given.remove(key);
    if Place::at(&place.socket).as_ref() != Ok(place) {
        // it has ended, or another one has its place
        return Ok(());
    }
    match place.agent().remove(key).await {
        Err(AgentError::Unreachable { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => other.map(drop),
    }
}
