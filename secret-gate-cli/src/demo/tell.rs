//! How the demo tells what it does: a word for each step, then what is sent and what comes back, further in.

use crate::failure::Failure;
use crate::ui::{BOLD, DIM, RESET, Ui};

/// Tells the steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller(pub(super) Ui);

impl Teller {
    pub(super) fn step(&self, name: &str, explanation: &str) -> Result<(), Failure> {
        self.0.tell(&format!("\n{BOLD}{name:8}{RESET} {explanation}"))
    }

    pub(super) fn call(&self, route: &str, detail: &str) -> Result<(), Failure> {
        let slash = if detail.starts_with("{token}") { "/" } else { " " };
        self.0.tell(&format!("{:8} {DIM}{route}{slash}{detail}{RESET}", ""))
    }

    pub(super) fn answer(&self, status: u16, text: &str) -> Result<(), Failure> {
        let lines = text.trim_end().replace('\n', &format!("\n{:14}", ""));
        self.0.tell(&format!("{:8} {status}  {lines}", ""))
    }

    /// A command, as it would be typed.
    pub(super) fn command(&self, args: &str) -> Result<(), Failure> {
        self.0.tell(&format!("{:8} {DIM}$ secret-gate {args}{RESET}", ""))
    }

    /// What a command prints.
    pub(super) fn output(&self, text: &str) -> Result<(), Failure> {
        let lines = text.trim_end().replace('\n', &format!("\n{:9}", ""));
        self.0.tell(&format!("{:8} {lines}", ""))
    }

    pub(super) fn remark(&self, text: &str) -> Result<(), Failure> {
        self.0.tell(&format!("{:8} {text}", ""))
    }
}
