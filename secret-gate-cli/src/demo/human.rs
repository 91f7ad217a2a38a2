//! Who answers in the demo: a person at the terminal, or the demo itself.

use std::io::{self, BufReader, IsTerminal, Read, Stdin};
use std::pin::Pin;
use std::sync::Arc;

use secret_gate_core::approver::{FnApprover, message};
use secret_gate_core::{Approver, Decision, Question, TerminalApprover};
use tokio::sync::oneshot;

use crate::demo::walk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;

/// Who answers.
pub(super) struct Human {
    pub(super) approver: Arc<dyn Approver>,
    /// Ready when nobody can answer any more.
    pub(super) gone: Pin<Box<dyn Future<Output = Failure> + Send>>,
}

impl Human {
    /// The person at the terminal.
    pub(super) fn at_the_terminal() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            let what = "the demo asks on the terminal, and standard input is none";
            return Err(Failure::new(Exit::Usage, what).with_hint("secret-gate demo --yes answers by itself"));
        }
        let (open, ended) = oneshot::channel();
        let keys = BufReader::new(Keyboard { keys: io::stdin(), open: Some(open) });
        // the questions are part of what the demo tells, so they go where the rest goes
        let approver = Arc::new(TerminalApprover::with_io(keys, io::stdout()));
        let gone = Box::pin(async move {
            ended.await.unwrap_or_default();
            Failure::new(Exit::Failed, "standard input has ended, so nobody can answer")
        });
        Ok(Self { approver, gone })
    }

    /// The demo itself: shows each question as the phone would, says yes to a good reason and no to curiosity.
    pub(super) fn scripted(ui: Ui) -> Self {
        let decide = move |question: Arc<Question>| async move {
            let is_curious = question.said.reason.as_deref() == Some(walk::CURIOUS);
            let answer = if is_curious { "deny" } else { "approve" };
            let shown = message::plain(&question, None).unwrap_or_default();
            // where standard output is gone, the walk ends by itself
            ui.tell(&format!("\n{shown}\n\nthe demo answers: {answer}")).ok();
            if is_curious { Decision::deny("the demo") } else { Decision::approve("the demo") }
        };
        Self { approver: Arc::new(FnApprover::new(decide)), gone: Box::pin(std::future::pending()) }
    }
}

/// Standard input that tells when it ends.
struct Keyboard {
    keys: Stdin,
    open: Option<oneshot::Sender<()>>,
}

impl Read for Keyboard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.keys.read(buffer);
        if matches!(read, Ok(0)) {
            self.open.take();
        }
        read
    }
}
