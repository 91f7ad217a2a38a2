//! Which values a command gets, and how they reach it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::loaders::is_loader_variable;
use crate::uses::is_variable_name;
use crate::{ExactCommand, SecretValue};

use super::{Command, ExecError, Redactor};

/// The longest `NAME=value` that Linux hands to a program, in bytes with the NUL at its end (`MAX_ARG_STRLEN`).
const MAX_VARIABLE: usize = 128 * 1024;

/// How a value reaches the command.
///
/// | | who can see it besides the command |
/// |---|---|
/// | [`Variable`](Self::Variable) | every program that the command starts, and every process of the same user (`/proc/PID/environ`), for as long as it runs |
/// | [`Stdin`](Self::Stdin), [`File`](Self::File) | who reads the pipe first, once |
///
/// To put it into a variable, the standard library copies the value into buffers that nobody wipes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// In an environment variable of this name.
    Variable(String),
    /// As the whole standard input, without a new line at its end.
    Stdin,
    /// In a pipe, whose `/dev/fd` path stands in an environment variable of this name. It can be read once.
    File(String),
}

impl Delivery {
    /// Makes sure that a variable of this name may carry something, before anybody is asked for it.
    ///
    /// # Errors
    /// [`ExecError::VariableName`] and [`ExecError::LoaderVariable`].
    pub fn check(&self) -> Result<(), ExecError> {
        match self.name() {
            Some(name) if !is_variable_name(name) => Err(ExecError::VariableName { name: name.to_owned() }),
            Some(name) if is_loader_variable(name) => Err(ExecError::LoaderVariable { name: name.to_owned() }),
            _ => Ok(()),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Variable(name) | Self::File(name) => Some(name),
            Self::Stdin => None,
        }
    }
}

/// A value for a command.
#[derive(Debug, Clone)]
pub struct Injection {
    pub(super) label: String,
    pub(super) value: Arc<SecretValue>,
    pub(super) is_concealed: bool,
    pub(super) delivery: Delivery,
}

impl Injection {
    /// This value, named `item/field` where it is redacted, delivered in this way.
    pub fn new(label: impl Into<String>, value: impl Into<Arc<SecretValue>>, delivery: Delivery) -> Self {
        Self { label: label.into(), value: value.into(), is_concealed: true, delivery }
    }

    /// The same, but the value may be seen: a user name, a host. It is not taken out of the output.
    #[must_use]
    pub const fn visible(mut self) -> Self {
        self.is_concealed = false;
        self
    }
}

/// Checks that the command can get these values, and makes what takes them out of its output.
pub(super) fn check(command: &Command, injections: &[Injection]) -> Result<Redactor, ExecError> {
    let mut names = HashSet::new();
    let mut has_stdin = command.stdin.is_some();
    for Injection { label, value, delivery, .. } in injections {
        delivery.check()?;
        if let Some(name) = delivery.name()
            && !names.insert(name)
        {
            return Err(ExecError::VariableTwice { name: name.to_owned() });
        }
        match delivery {
            Delivery::Variable(name) => {
                if value.expose_bytes().contains(&0) {
                    return Err(ExecError::Nul { label: label.clone() });
                }
                if name.len() + value.len() + 2 > MAX_VARIABLE {
                    return Err(ExecError::TooLong { label: label.clone() });
                }
            }
            Delivery::Stdin if has_stdin => return Err(ExecError::StdinTwice),
            Delivery::Stdin => has_stdin = true,
            Delivery::File(_) => {}
        }
    }
    if let Some(approved) = &command.approved {
        check_approved(approved, injections)?;
    }
    let concealed = injections.iter().filter(|injection| injection.is_concealed);
    Ok(Redactor::new(concealed.map(|injection| (injection.label.as_str(), &*injection.value)))?)
}

/// An exact command gets the values that were approved, each in the way that was, and nothing else.
fn check_approved(approved: &ExactCommand, injections: &[Injection]) -> Result<(), ExecError> {
    let approved_field = |injection: &Injection| match &injection.delivery {
        Delivery::Variable(name) => approved.env.get(name),
        Delivery::File(name) => approved.files.get(name),
        Delivery::Stdin => approved.stdin.as_ref(),
    };
    let is_approved = |injection: &Injection| {
        approved_field(injection).is_some_and(|field| {
            let rest = injection.label.strip_suffix(field.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        })
    };
    // two values that were shown alike could be exchanged
    let is_clear = |one: &Injection| {
        let field = approved_field(one);
        injections.iter().all(|other| approved_field(other) != field || other.label == one.label)
    };
    let count = approved.env.len() + approved.files.len() + usize::from(approved.stdin.is_some());
    if injections.len() == count && injections.iter().all(|each| is_approved(each) && is_clear(each)) {
        return Ok(());
    }
    Err(ExecError::Changed { what: "which values it gets, and how," })
}

/// The labels of the values that may be seen, each once.
pub(super) fn unredacted(injections: &[Injection]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for injection in injections.iter().filter(|injection| !injection.is_concealed) {
        if !labels.contains(&injection.label) {
            labels.push(injection.label.clone());
        }
    }
    labels
}
