//! The daemon itself: hears calls, holds what was approved, ends when nobody needs it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::{Asking, Covered, name_of};
use super::call::{Call, Event, Failure, FailureKind, PROTOCOL, Status, Verb};
use super::caller::{Client, drained, heard};
use super::frame::{Frame, opened};
use super::holdings::{Found, Holding, Holdings, NoSeed};
use super::paths::{PlaceError, SocketPath};
use super::peer::{check_caller, umask_of};
use super::user_agent::UserAgents;
use super::{Wish, revoke, run, ssh};
use crate::clock::{Clock, SystemClock};
use crate::wire::Revealed;
use crate::{SecretValue, Use};

/// How often the daemon looks whether its socket is still there.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// How many calls about secrets can be under way at once.
const MAX_CALLS: usize = 256;

/// How many others can be beside them: whatever runs, its owner can see it and take it back.
const SPARE_CALLS: usize = 32;

/// How a daemon behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DaemonOptions {
    /// How long it stays with nothing to hold and nothing to do; at least a second.
    pub idle_timeout: Duration,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(5 * 60) }
    }
}

impl DaemonOptions {
    /// The same with this time-out.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.max(Duration::from_secs(1));
        self
    }
}

/// Why a daemon does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Another daemon serves here.
    #[error("a daemon is running")]
    IsRunning,
    /// Another process holds the place and does not listen there.
    #[error("process {holder} holds {lock}, but does not listen beside it; end it with: kill {holder}")]
    Stuck {
        /// The file that it has locked.
        lock: PathBuf,
        /// Its number, as it wrote into that file.
        holder: String,
    },
    /// The standard streams can't be closed.
    #[error("the daemon can't close its standard streams")]
    Streams(#[source] io::Error),
    /// There is no place for its socket.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The socket can't be made or listened on.
    #[error("the daemon can't listen at {path}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A daemon that has its place and is about to serve.
#[derive(Debug)]
pub struct Daemon {
    listener: UnixListener,
    place: Place,
    options: DaemonOptions,
}

/// What was made in the file system; removed when this is dropped.
#[derive(Debug)]
struct Place {
    path: SocketPath,
    /// Device and number of our socket.
    socket: (u64, u64),
    // locked for as long as it is open
    _lock: File,
}

impl Place {
    fn is_ours(&self) -> bool {
        identity(self.path.as_path()).is_ok_and(|there| there == self.socket)
    }

    /// Returns when our socket is there no more.
    async fn lost(&self) {
        let mut ticks = tokio::time::interval(LOOK_AFTER);
        while self.is_ours() {
            ticks.tick().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // the lock's file stays, since others may wait for it
        if self.is_ours() {
            fs::remove_file(self.path.as_path()).ok();
        }
    }
}

impl Daemon {
    /// Takes the place: of several that start at once, one gets it.
    ///
    /// # Errors
    /// [`DaemonError::IsRunning`] where another daemon has it, and the others.
    pub fn bind(path: SocketPath, options: DaemonOptions) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Socket { path: path.as_path().to_owned(), source };
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow());
        let lock = open.open(path.lock_file()).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(DaemonError::IsRunning),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        if path.check()? {
            // what a daemon left behind that was killed
            fs::remove_file(path.as_path()).map_err(failed)?;
        }
        // in a folder that nobody else can enter
        let listener = UnixListener::bind(path.as_path()).map_err(failed)?;
        fs::set_permissions(path.as_path(), fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let socket = identity(path.as_path()).map_err(failed)?;
        // for whoever finds the lock held and nobody listening
        let written = lock.set_len(0).and_then(|()| writeln!(&lock, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { listener, place: Place { path, socket, _lock: lock }, options })
    }

    /// Serves until it is told to stop, `stop` is ready, or it had nothing to do for the idle time-out; then forgets
    /// everything and removes its socket.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let Self { listener, place, options } = self;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let holdings = Holdings::new(Arc::clone(&clock));
        let app = Arc::new(App {
            agents: UserAgents::new(clock),
            asking: Arc::new(Asking::new(holdings.clone())),
            started: Instant::now(),
            socket_path: place.path.as_path().display().to_string(),
            folder: place.path.as_path().parent().unwrap_or(Path::new(".")).to_owned(),
            stopping: CancellationToken::new(),
            calls: watch::Sender::new(0),
            places: Semaphore::new(MAX_CALLS),
            holdings,
        });
        let watching = tokio::spawn(revoke::watch(app.holdings.clone()));
        let tasks = TaskTracker::new();
        tokio::select! {
            () = app.accept(&listener, &tasks) => {}
            () = app.idle(options.idle_timeout) => tracing::debug!("nothing to hold and nothing to do"),
            () = app.stopping.cancelled() => {}
            () = place.lost() => tracing::warn!("the socket was removed or replaced; nobody can call any more"),
            () = stop => {}
        }
        app.stopping.cancel();
        watching.abort();
        let ended = app.holdings.clear();
        for holding in &ended {
            holding.revoked.cancel();
        }
        // the socket goes first: whoever calls from now on starts a daemon of their own as soon as the lock is free
        drop(listener);
        tasks.close();
        let ending = async {
            tasks.wait().await;
            app.asking.finish().await;
            // it says so itself where it fails
            app.agents.emptied(&ended).await.ok();
        };
        if tokio::time::timeout(Duration::from_secs(10), ending).await.is_err() {
            tracing::warn!("some calls did not end in time, or some questions could not be withdrawn");
        }
        drop(place);
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[derive(Debug)]
struct App {
    holdings: Holdings,
    asking: Arc<Asking>,
    agents: UserAgents,
    started: Instant,
    socket_path: String,
    /// Where private things may lie for a while.
    folder: PathBuf,
    stopping: CancellationToken,
    calls: watch::Sender<usize>,
    /// For calls about secrets.
    places: Semaphore,
}

impl App {
    async fn accept(self: &Arc<Self>, listener: &UnixListener, tasks: &TaskTracker) {
        let mut calls = self.calls.subscribe();
        loop {
            // the next ones wait in the system's queue; those that say nothing are let go in a few seconds
            drop(calls.wait_for(|calls| *calls < MAX_CALLS + SPARE_CALLS).await);
            match listener.accept().await {
                Ok((stream, _)) => {
                    let app = Arc::clone(self);
                    let under_way = UnderWay::new(&app);
                    tasks.spawn(async move {
                        app.serve(stream).await;
                        drop(under_way);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a call was not heard");
                    // as when no more files can be open: others must close theirs first
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Returns when there was nothing to hold and nothing to do for so long.
    async fn idle(&self, timeout: Duration) {
        let (mut held, mut calls) = (self.holdings.count(), self.calls.subscribe());
        loop {
            let is_idle = *held.borrow_and_update() == 0 && *calls.borrow_and_update() == 0;
            tokio::select! {
                () = tokio::time::sleep(timeout), if is_idle => return,
                _ = held.changed() => {}
                _ = calls.changed() => {}
            }
        }
    }

    async fn serve(&self, stream: UnixStream) {
        let (refused, umask) = (check_caller(&stream).err(), umask_of(&stream));
        let opening = if refused.is_none() { heard(opened(&stream)).await } else { None };
        let (mut reader, writer) = stream.into_split();
        let mut client = Client::new(writer, umask);
        if let Some(refused) = refused {
            tracing::warn!(error = %refused, "a call was refused");
            client.send(&Event::Failed(Failure::new(FailureKind::Refused, refused.to_string()))).await.ok();
            // it may be about to say what it wants, and would take a connection that is closed for a daemon that ends
            heard(drained(&mut reader)).await;
            return;
        }
        let call = match opening {
            None => return,
            Some(Err(error)) => Err(error),
            Some(Ok(stdin)) => {
                client.reads_from(stdin);
                match heard(Frame::read(&mut reader)).await {
                    None => return,
                    Some(frame) => frame.and_then(|frame| frame.parse::<Call>()),
                }
            }
        };
        let runs = call.as_ref().is_ok_and(|call| call.verb.runs());
        let answer = match call {
            Ok(Call { protocol: PROTOCOL, version, verb })
                if verb.is_about_secrets() && !version.is_empty() && version != env!("CARGO_PKG_VERSION") =>
            {
                let own = env!("CARGO_PKG_VERSION");
                let message = format!("the daemon is of version {own}, this program of {version}");
                Err(Failure::new(FailureKind::Protocol, message))
            }
            Ok(Call { protocol: PROTOCOL, verb, .. }) => tokio::select! {
                // an answer that is there is given, even where the client has said all it will ever say
                biased;
                answer = self.answer(verb, &client) => answer,
                () = client.gone(&mut reader) => return,
                () = self.stopping.cancelled() => Err(Failure::new(FailureKind::Stopping, "the daemon is stopping")),
            },
            // a client of another version can see what runs here, and replace it
            Ok(Call { verb: verb @ (Verb::Status | Verb::Stop), .. }) => self.answer(verb, &client).await,
            Ok(Call { protocol, .. }) => {
                let message = format!("the daemon speaks protocol {PROTOCOL}, this program {protocol}");
                Err(Failure::new(FailureKind::Protocol, message))
            }
            Err(error) => Err(Failure::new(FailureKind::Protocol, error.to_string())),
        };
        let answer = answer.unwrap_or_else(Event::Failed);
        if runs {
            client.finish(&answer, &mut reader, &self.stopping).await;
        } else {
            client.send(&answer).await.ok();
        }
    }

    async fn answer(&self, verb: Verb, client: &Client) -> Result<Event, Failure> {
        let about_secrets = matches!(verb, Verb::Request(_) | Verb::Reveal(_) | Verb::Exec(_) | Verb::Ssh(_));
        let _place = about_secrets.then(|| self.places.try_acquire()).transpose().map_err(|_| {
            tracing::warn!("too many calls at once; one was refused");
            Failure::new(FailureKind::Failed, "too many calls at once; try again when others have ended")
        })?;
        match verb {
            Verb::Request(wish) => Ok(Event::Granted(self.obtain(&wish, client).await?.describe())),
            Verb::Reveal(mut wish) => {
                // what is handed over is what was approved to be
                wish.intended_use.reveal = true;
                let covered = self.obtain(&wish, client).await?;
                let labels = wish.secrets.iter().map(|wanted| name_of(wanted).fields);
                let values = covered.found.iter().zip(labels).map(|(found, labels)| values(found, &labels));
                let values = values.collect::<Result<_, _>>()?;
                client.begin()?;
                covered.spend()?;
                Ok(Event::Revealed { granted: Covered::describe(&covered), values })
            }
            Verb::Exec(exec) => {
                let covered = self.asking.obtain(&exec.wish, client).await?;
                run::exec(exec, &covered, client).await
            }
            Verb::Ssh(login) => {
                let covered = self.asking.obtain(&login.wish, client).await?;
                ssh::log_in(login, &covered, client, &self.folder).await
            }
            Verb::Grants => {
                Ok(Event::Grants { grants: self.holdings.all().iter().map(|holding| holding.describe()).collect() })
            }
            Verb::Revoke { id } => self.revoke(id.as_deref()).await,
            Verb::Flush => self.end(&self.holdings.clear()).await.map(|count| Event::Done { count }),
            Verb::Status => Ok(Event::Status(self.status())),
            Verb::Stop => {
                let ended = self.end(&self.holdings.clear()).await;
                self.stopping.cancel();
                ended.map(|count| Event::Done { count })
            }
        }
    }

    /// What covers the wish; keys in it that any login may use are in the caller's ssh-agent by then, too.
    async fn obtain(&self, wish: &Wish, client: &Client) -> Result<Covered, Failure> {
        let mut covered = self.asking.obtain(wish, client).await?;
        if let Some(socket) = wish.ssh_auth_sock.clone() {
            covered.notes = self.agents.add(&covered, Path::new(&OsString::from(socket))).await;
        }
        Ok(covered)
    }

    /// Stops whatever runs with these, and takes their keys out of agents.
    async fn end(&self, holdings: &[Arc<Holding>]) -> Result<usize, Failure> {
        for holding in holdings {
            holding.revoked.cancel();
        }
        self.agents.emptied(holdings).await?;
        Ok(holdings.len())
    }

    async fn revoke(&self, id: Option<&str>) -> Result<Event, Failure> {
        let ended = match id {
            None => self.holdings.clear(),
            Some(id) => vec![
                self.holdings
                    .remove(id)
                    .ok_or_else(|| Failure::new(FailureKind::UnknownGrant, format!("there is no grant {id}")))?,
            ],
        };
        let (count, told) = tokio::join!(self.end(&ended), revoke::at_servers(ended.clone()));
        told?;
        Ok(Event::Done { count: count? })
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            entry_count: *self.holdings.count().borrow(),
            socket_path: self.socket_path.clone(),
            memory_locked: SecretValue::copy_of("probe").is_locked(),
            calls: self.calls.borrow().saturating_sub(1),
        }
    }
}

/// Values of these fields, of all where none is named; nothing where the approval does not say so.
fn values(found: &Found, labels: &[String]) -> Result<BTreeMap<String, Revealed>, Failure> {
    let item = found.item().filter(|_| found.holding.grant.allowed.covers(&Use::reveal()));
    let Some(item) = item else { return Ok(BTreeMap::new()) };
    let all = || item.fields.iter().map(|field| field.label.clone()).collect();
    let labels: Vec<String> = if labels.is_empty() { all() } else { labels.to_vec() };
    let value = |label: String| {
        let value = item.value_to_reveal(&label).ok_or_else(|| run::unknown_field(item, &label))?;
        let value = value.map_err(|NoSeed| run::no_seed(&label))?;
        Ok((label, Revealed(SecretValue::copy_of(value.expose()))))
    };
    labels.into_iter().map(value).collect()
}

/// Counts a call for as long as it is under way.
struct UnderWay(Arc<App>);

impl UnderWay {
    fn new(app: &Arc<App>) -> Self {
        app.calls.send_modify(|calls| *calls += 1);
        Self(Arc::clone(app))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.send_modify(|calls| *calls -= 1);
    }
}
