//! One cell: a request comes to its step, the fault strikes, the user sees what comes of it, and tries again.

use std::future::pending;

use rustix::process::{Signal, kill_process};

use crate::relay::{Toward, Way};
use crate::run::{Ended, Run};
use crate::scene::Scene;
use crate::support::PASSWORD;
use crate::{Fault, Step, Subject};

/// A fault at a step.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub subject: Subject,
    pub fault: Fault,
    pub step: Step,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub first: Ended,
    /// Whether the user had to wait until the part was back.
    pub waited: bool,
    /// How many questions were asked in the first run, and by the second.
    pub questions: [usize; 2],
    /// How many of the questions of the first run were approved.
    pub approved: usize,
}

impl Cell {
    /// Whether it takes a time-out of half a minute or more.
    pub fn is_long(self) -> bool {
        match self.fault {
            Fault::Hangs => matches!(self.subject, Subject::Network | Subject::Connect),
            Fault::Killed => self.subject == Subject::Server && (Step::Seen..Step::Used).contains(&self.step),
            _ => false,
        }
    }

    pub async fn outcome(self) -> Outcome {
        let mut scene = Scene::new().await;
        let run = scene.at(self.step, self.subject).await;
        let disk = self.strike(&mut scene, &run).await;
        if self.takes_back() && self.step > Step::Seen {
            // before what is held arrives, which the client would never see
            scene.taken_back(self.step).await;
        }
        if self.subject == Subject::Daemon && self.fault == Fault::Ended && self.step > Step::Seen {
            // a value that comes while it ends may still get to the command, which is killed then
            run.ended().await;
        }
        if self.subject == Subject::Network && self.step == Step::Read {
            self.server_has_noticed(&scene).await;
        }
        scene.release();
        if !self.ends_the_asker() {
            scene.human.approves();
        }
        // a command that is to be killed must still run then
        if !(self.step == Step::Used && self.fault == Fault::Restarted) {
            run.may_end().await;
        }
        let early = tokio::select! {
            ended = run.ended() => Some(ended),
            () = self.met(&scene) => None,
        };
        self.heal(&mut scene, &run).await;
        drop(disk);
        scene.human.presses_again();
        let (waited, first) = match early {
            Some(ended) => (false, ended),
            None => (!matches!(self.fault, Fault::Stopped | Fault::CutOnce), run.ended().await),
        };
        if self.takes_back() {
            scene.is_taken_back().await;
        }
        if self.ends_what_is_held() {
            scene.nothing_is_held().await;
        }
        let before = scene.events();

        scene.human.approves();
        let again = scene.run();
        again.may_end().await;
        let again = again.ended().await;
        assert!(again.code == Some(0) && again.is_done, "{self:?}: trying again fails: {again:?}");
        let after = scene.events();
        self.nothing_is_released_that_was_not_approved(&scene, &after);
        let approved = before.iter().filter(|(_, events)| events.iter().any(|event| event == "approved")).count();
        Outcome { first, waited, questions: [before.len(), after.len() - before.len()], approved }
    }

    /// Whether whoever asks is gone, so that nobody waits for the answer. A client whose daemon ends before it has said
    /// anything asks through another one.
    fn ends_the_asker(self) -> bool {
        match self.subject {
            Subject::Client => self.fault != Fault::Stopped,
            Subject::Daemon => self.fault != Fault::Stopped && self.step != Step::Asked,
            _ => false,
        }
    }

    /// Whether the daemon takes back what its client asked for. What is in use is held, for whoever asks next.
    fn takes_back(self) -> bool {
        self.subject == Subject::Client && self.fault != Fault::Stopped && self.step != Step::Used
    }

    /// Waits until the server knows that whoever fetches the value is gone, and they ask once more: otherwise it may release
    /// to nobody, as it does at the next step.
    async fn server_has_noticed(self, scene: &Scene) {
        match self.fault {
            Fault::CutOnce => {
                scene.to_server.hold(Toward::Server, "GET /secret/");
                scene.to_server.held().await;
            }
            Fault::Resets => scene.to_server.in_vain(1).await,
            _ => {}
        }
    }

    /// Whether the command goes on, and the approval ends when the server is back, which does not know it.
    pub fn ends_what_is_held(self) -> bool {
        self.subject == Subject::Server && self.fault == Fault::Killed && self.step == Step::Used
    }

    /// Returns what keeps the audit log locked.
    async fn strike(self, scene: &mut Scene, run: &Run) -> Option<std::fs::File> {
        let way = match self.fault {
            Fault::Refuses => Way::Refused,
            Fault::Resets => Way::Reset,
            Fault::Hangs => Way::Silent,
            _ => Way::Open,
        };
        match (self.subject, self.fault) {
            (Subject::Connect, _) => scene.to_connect.set(way),
            (Subject::Telegram, _) => scene.to_telegram.set(way),
            (Subject::Network, _) => scene.to_server.set(way),
            (Subject::Server, Fault::Stopped) => scene.signal_server(Signal::STOP),
            (Subject::Server, Fault::Killed) => scene.kill_server().await,
            (Subject::Server, _) => {
                scene.kill_server().await;
                // so that no call is made in vain, however long the start takes
                scene.to_server.set(Way::Silent);
                scene.start_server().await;
            }
            (Subject::Daemon, fault) => {
                kill_process(scene.daemon().expect("a daemon"), signal(fault)).unwrap();
            }
            (Subject::Client, fault) => run.signal(signal(fault)),
            (Subject::Disk, Fault::Full) => scene.fill_disk(true),
            (Subject::Disk, Fault::Locked) => return Some(scene.lock_disk()),
            (Subject::Disk, _) => scene.move_disk(true),
        }
        None
    }

    /// Ready when everybody has met the fault who does, and waits for its end; never where the user sees an end before.
    async fn met(self, scene: &Scene) {
        match (self.subject, self.step) {
            _ if self.fault == Fault::Stopped || self.fault == Fault::CutOnce => {}
            (Subject::Connect, Step::Seen | Step::Approved | Step::Read) if self.fault == Fault::Hangs => {
                scene.to_connect.in_vain(1).await;
            }
            (Subject::Connect, Step::Seen | Step::Approved | Step::Read) => {
                scene.server().line(|line| line.contains("the secret backend gave no answer")).await;
            }
            (Subject::Telegram, Step::Seen) if self.fault == Fault::Hangs => scene.human.has_pressed().await,
            (Subject::Telegram, Step::Seen) => {
                scene.human.has_pressed().await;
                scene.server().line(|line| line.contains("presses on Telegram are not heard")).await;
            }
            (Subject::Network, Step::Seen) if self.fault == Fault::Resets => {
                scene.to_server.in_vain(2).await;
            }
            (Subject::Network, Step::Approved | Step::Read) if self.fault == Fault::Resets => {
                scene.to_server.in_vain(2).await;
            }
            (Subject::Disk, Step::Seen) => scene.human.was_refused().await,
            (Subject::Disk, Step::Approved | Step::Read) => {
                scene.server().line(|line| line.contains("internal error")).await;
            }
            _ => pending().await,
        }
    }

    async fn heal(self, scene: &mut Scene, run: &Run) {
        match (self.subject, self.fault) {
            (Subject::Connect, _) => scene.to_connect.set(Way::Open),
            (Subject::Telegram, _) => scene.to_telegram.set(Way::Open),
            (Subject::Network, Fault::CutOnce) => {}
            (Subject::Network, _) => scene.to_server.set(Way::Open),
            (Subject::Server, Fault::Killed) => scene.start_server().await,
            (Subject::Server, Fault::Stopped) => scene.signal_server(Signal::CONT),
            (Subject::Daemon, Fault::Stopped) => {
                kill_process(scene.daemon().expect("a daemon"), Signal::CONT).unwrap();
            }
            (Subject::Client, Fault::Stopped) => run.signal(Signal::CONT),
            (Subject::Disk, Fault::Full) => scene.fill_disk(false),
            (Subject::Disk, Fault::Gone) => scene.move_disk(false),
            _ => {}
        }
    }

    /// Rule 8: nothing is released twice or without an approval; and no value is where none may be.
    fn nothing_is_released_that_was_not_approved(self, scene: &Scene, requests: &[(String, Vec<String>)]) {
        let all = |event: &str| requests.iter().flat_map(|(_, events)| events).filter(|other| *other == event).count();
        // each was read to be shown, and once more to be released
        let (asked, released, reads) = (all("asked"), all("released"), scene.item_reads());
        assert!(asked + released <= reads, "{self:?}: {asked} asked, {released} released, {reads} reads");
        for (id, events) in requests {
            let count = |event: &str| events.iter().filter(|other| *other == event).count();
            assert!(count("released") <= count("approved") && count("approved") <= 1, "{self:?}, {id}: {events:?}");
            let place = |event: &str| events.iter().position(|other| other == event);
            assert!(place("released").is_none() || place("approved") < place("released"), "{self:?}, {id}: {events:?}");
        }
        assert!(!scene.logs().contains(PASSWORD), "{self:?}: a value in a log");
    }
}

fn signal(fault: Fault) -> Signal {
    match fault {
        Fault::Ended => Signal::TERM,
        Fault::HungUp => Signal::HUP,
        Fault::Stopped => Signal::STOP,
        _ => Signal::KILL,
    }
}
