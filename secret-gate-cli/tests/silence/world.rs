//! Everything that a value can meet: a server that has it, one who may ask, and a place that a key lets in.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, unreachable_pub, reason = "in tests, a failure is a panic")]

use secret_gate_core::Use;
use secret_gate_core::client::ServerUrl;
use secret_gate_core::daemon::Wish;
use secret_gate_core::wire::WantedSecret;

use crate::gated::{Gated, approving};
use crate::silence::{Asker, Search, can_be_tried, random_value, vault};
use crate::sshd::{self, Place};
use crate::support::Run;

/// A server with a password and a key, a place that lets the key in, and who may ask.
pub struct World {
    pub gated: Gated,
    pub place: Place,
    pub asker: Asker,
    /// Of the password, and of the key.
    pub searches: [Search; 2],
}

impl World {
    pub async fn new() -> Option<Self> {
        Self::with("ed25519").await
    }

    /// With a key of this kind.
    pub async fn with(kind: &str) -> Option<Self> {
        if !can_be_tried() {
            return None;
        }
        let place = Place::new().await?;
        let (value, key) = (random_value(), sshd::keygen(&["-t", kind, "-N", ""]));
        place.let_in(&[sshd::parse(&key).public().to_string()]);
        let gated = Gated::over(approving(16), vault(&value, &key)).await;
        let asker = Asker::of(&gated);
        put_ssh(&place, &asker);
        Some(Self { gated, place, asker, searches: [Search::of(&value), Search::of_key(&key)] })
    }

    /// Runs a line of shell with the password in T.
    pub fn exec<'a>(&self, line: &'a str) -> Vec<&'a str> {
        ["exec", "--secret", "db", "--env", "T=password", "--reason", "r", "--any", "--shell", line].to_vec()
    }

    /// The password, for any command, under an approval that is held.
    pub fn wish(&self) -> Wish {
        let secret = WantedSecret { secret_name: "db".into(), vault: None, fields: Some(vec!["password".into()]) };
        Wish {
            server: self.gated.url.parse::<ServerUrl>().unwrap().to_string(),
            secrets: vec![secret],
            intended_use: Use::any_command(),
            only_held: true,
            ..Wish::default()
        }
    }

    /// Logs in with the key.
    pub async fn ssh(&self, run: impl AsyncFnOnce(&[&str]) -> Run) {
        let (target, port) = (format!("{}@127.0.0.1", self.place.user), self.place.port.to_string());
        let args =
            ["ssh", "--secret", "deploy-key", "--reason", "r", "--port", &port, &target, "--", "echo", "in; exit 3"];
        let run = run(&args).await;
        assert_eq!((run.code, run.out.as_str()), (3, "in\n"), "{run:?}");
    }
}

/// An `ssh` that takes the asker for a user of this machine, with a home.
fn put_ssh(place: &Place, asker: &Asker) {
    let (uid, home) = (asker.uid(), asker.path(""));
    asker.write("passwd", &format!("asker:x:{uid}:{uid}::{}:/bin/sh\n", home.display()), 0o600);
    asker.write("group", &format!("asker:x:{uid}:\n"), 0o600);
    let theirs = std::fs::read_to_string(place.program()).unwrap();
    let (place, home) = (place.path(""), home.to_str().unwrap().trim_end_matches('/'));
    let ours = theirs.replace(place.to_str().unwrap().trim_end_matches('/'), home);
    asker.write("bin/ssh", &ours.replace("exec ssh", "PATH=/usr/bin:/bin exec ssh"), 0o700);
}
