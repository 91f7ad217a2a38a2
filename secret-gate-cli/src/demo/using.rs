//! The second half of the walk: using secrets without seeing them, and taking back what was approved.

use crate::demo::login::Login;
use crate::demo::own::{Own, Ran};
use crate::demo::quoted;
use crate::demo::tell::Teller;
use crate::demo::vault::{DATABASE, DEPLOY_KEY, MARK};
use crate::demo::walk::broken;
use crate::failure::Failure;

/// The exit code of what a human refused.
const DENIED: Option<i32> = Some(3);

/// What the command prints: the value as it is, and as a common tool writes it.
const LINE: &str = "echo \"it logs in with $PGPASSWORD\"; printf %s \"$PGPASSWORD\" | base64";

/// Goes through every step; with `must_agree`, one that a human refuses fails. `key` is the public half of the vault's.
pub(super) async fn walk(teller: Teller, own: &Own, key: &str, must_agree: bool) -> Result<(), Failure> {
    let using = Using { teller, own, must_agree };
    if using.exec().await? {
        using.repeat().await?;
    }
    using.ssh(key).await?;
    using.grants().await?;
    using.revoke().await
}

struct Using<'a> {
    teller: Teller,
    own: &'a Own,
    must_agree: bool,
}

impl Using<'_> {
    /// Returns whether the human agreed.
    async fn exec(&self) -> Result<bool, Failure> {
        self.teller.step("exec", "a command gets a value that the program which starts it never sees")?;
        let ran = self.command(&exec()).await?;
        if ran.code == DENIED && !self.must_agree {
            self.teller.remark("without a yes nothing runs")?;
            return Ok(false);
        }
        is_redacted(&ran)?;
        Ok(true)
    }

    async fn repeat(&self) -> Result<(), Failure> {
        self.teller.step("repeat", "exactly the same command: nobody is asked again until the approval ends")?;
        let ran = self.command(&exec()).await?;
        if ran.err.contains("waiting for") {
            return Err(broken("somebody was asked twice"));
        }
        is_redacted(&ran)
    }

    async fn ssh(&self, key: &str) -> Result<(), Failure> {
        self.teller.step("ssh", "a login with a key that lies in no file; nobody but this ssh can use it")?;
        let login = match Login::start(self.own.folder(), key).await {
            Ok(login) => login,
            Err(reason) => return self.teller.remark(&format!("left out: {reason}")),
        };
        let (port, target) = (login.port.to_string(), format!("{}@127.0.0.1", login.user));
        let ran = self
            .command(&[
                "ssh",
                "--secret",
                DEPLOY_KEY,
                "--reason",
                "deploy",
                "--port",
                &port,
                &target,
                "--",
                "echo",
                "logged in",
            ])
            .await?;
        match ran.code {
            Some(0) => Ok(()),
            DENIED if !self.must_agree => self.teller.remark("without a yes nobody logs in"),
            DENIED => Err(broken("nobody approved")),
            // accounts without a shell, or that are locked, can't log in; that is no fault of ours
            _ => self.teller.remark(&format!("this machine does not let {} in: {}", login.user, last_line(&ran.err))),
        }
    }

    async fn grants(&self) -> Result<(), Failure> {
        self.teller.step("grants", "what is held, and for how long; no values")?;
        let ran = self.command(&["grants"]).await?;
        if ran.code != Some(0) || ran.out.contains(MARK) {
            return Err(broken("the approvals can't be listed"));
        }
        if ran.out.is_empty() { self.teller.remark("nothing is held") } else { Ok(()) }
    }

    async fn revoke(&self) -> Result<(), Failure> {
        self.teller.step("revoke", "taken back: forgotten here at once, ended at the server")?;
        let ran = self.command(&["revoke", "--all"]).await?;
        let left = self.own.run(&["grants"]).await?;
        if ran.code != Some(0) || !left.out.is_empty() {
            return Err(broken("something is still held"));
        }
        self.teller.remark(ran.err.trim())
    }

    /// Shows a command, runs it, and shows what it prints.
    async fn command(&self, args: &[&str]) -> Result<Ran, Failure> {
        let shown: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
        self.teller.command(&shown.join(" "))?;
        let ran = self.own.run(args).await?;
        if !ran.out.is_empty() {
            self.teller.output(&ran.out)?;
        }
        Ok(ran)
    }
}

fn exec() -> [&'static str; 9] {
    [
        "exec",
        "--secret",
        DATABASE,
        "--env",
        "PGPASSWORD=password",
        "--reason",
        "migrate the orders table",
        "--shell",
        LINE,
    ]
}

/// The command ran, printed what it should, and nothing of the value.
fn is_redacted(ran: &Ran) -> Result<(), Failure> {
    let marker = format!("[redacted:{DATABASE}/password]");
    let lines: Vec<_> = ran.out.lines().collect();
    if ran.code == Some(0) && lines == [format!("it logs in with {marker}"), marker] {
        return Ok(());
    }
    let Ran { code, err, .. } = ran;
    Err(broken(&format!("the command ended with {code:?}, or its output shows the value: {}", last_line(err))))
}

fn last_line(text: &str) -> &str {
    text.trim().lines().next_back().unwrap_or("it says nothing")
}
