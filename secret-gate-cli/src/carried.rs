//! Which field gets into a command in which way.

use std::collections::HashSet;

use secret_gate_core::ExactCommand;
use secret_gate_core::daemon::{Inject, Way};
use secret_gate_core::exec::Delivery;

use crate::exit::Exit;
use crate::failure::Failure;

/// A field that a command gets.
#[derive(Debug)]
pub(crate) struct Carried {
    way: Way,
    /// Which secret, counted from 0.
    pub(crate) secret: usize,
    pub(crate) field: String,
    /// What the human sees of it.
    pub(crate) shown: String,
}

impl Carried {
    pub(crate) fn new(way: Way, secret: usize, field: String) -> Self {
        Self { way, secret, shown: field.clone(), field }
    }

    /// The fields of the first secret that flags name: `env` of the form `VAR=LABEL`, or `VAR`, which takes the next of
    /// `fields`; `files` of the form `VAR=LABEL`; the label of what is standard input.
    pub(crate) fn of_flags(
        env: Vec<String>,
        fields: Vec<String>,
        files: Vec<String>,
        stdin: Option<String>,
    ) -> Result<Vec<Self>, Failure> {
        let usage = |what: String| {
            Failure::new(Exit::Usage, what).with_hint("write --env VAR=LABEL, or --field LABEL --env VAR")
        };
        let mut fields = fields.into_iter();
        let mut all = Vec::new();
        for text in env {
            let (variable, field) = match text.split_once('=') {
                Some((variable, field)) => (variable.to_owned(), field.to_owned()),
                None => {
                    let field =
                        fields.next().ok_or_else(|| usage(format!("no field is named for the variable {text}")))?;
                    (text, field)
                }
            };
            all.push((Way::Variable(variable), field));
        }
        if let Some(field) = fields.next() {
            return Err(usage(format!("no variable is named for the field {field}")));
        }
        for text in files {
            let (variable, field) = text.split_once('=').ok_or_else(|| {
                Failure::new(Exit::Usage, format!("no field is named for the file of {text}"))
                    .with_hint("write --file VAR=LABEL")
            })?;
            all.push((Way::File(variable.to_owned()), field.to_owned()));
        }
        all.extend(stdin.map(|field| (Way::Stdin, field)));

        let mut names = HashSet::new();
        for (way, field) in &all {
            if field.is_empty() {
                return Err(usage("a field without a label can't be asked for".to_owned()));
            }
            let (Way::Variable(name) | Way::File(name)) = way else { continue };
            let checked = Delivery::Variable(name.clone()).check();
            checked.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
            if !names.insert(name.clone()) {
                return Err(usage(format!("the variable {name} would carry two fields, {field} among them")));
            }
        }
        Ok(all.into_iter().map(|(way, field)| Self::new(way, 0, field)).collect())
    }

    /// The command with this field, in its way.
    pub(crate) fn added_to(&self, command: ExactCommand) -> ExactCommand {
        match &self.way {
            Way::Variable(name) => command.with_env(name, &self.shown),
            Way::File(name) => command.with_file(name, &self.shown),
            Way::Stdin => command.with_stdin(&self.shown),
        }
    }
}

impl From<Carried> for Inject {
    fn from(carried: Carried) -> Self {
        let Carried { way, secret, field, shown: _ } = carried;
        Self { secret, field, into: way }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[&str], fields: &[&str], files: &[&str], stdin: Option<&str>) -> Result<Vec<String>, Failure> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let all = Carried::of_flags(owned(env), owned(fields), owned(files), stdin.map(str::to_owned))?;
        let shown = |one: &Carried| match &one.way {
            Way::Variable(name) => format!("{name}={}", one.field),
            Way::File(name) => format!("<{name}={}", one.field),
            Way::Stdin => format!("<{}", one.field),
        };
        Ok(all.iter().map(shown).collect())
    }

    #[test]
    fn each_variable_has_a_field() {
        assert_eq!(read(&["A=one", "B=two=2"], &[], &[], None).unwrap(), ["A=one", "B=two=2"]);
        assert_eq!(read(&["A", "C=three", "B"], &["one", "two"], &[], None).unwrap(), ["A=one", "C=three", "B=two"]);
        assert_eq!(read(&["A"], &["f"], &["K=key"], Some("p=1")).unwrap(), ["A=f", "<K=key", "<p=1"]);
        for (env, fields, files, stdin) in [
            (&["A"][..], &[][..], &[][..], None),
            (&["A=one"], &["two"], &[], None),
            (&["A=one", "A=two"], &[], &[], None),
            (&["A=one"], &[], &["A=two"], None),
            (&["A="], &[], &[], None),
            (&["=one"], &[], &[], None),
            (&["A-B=one"], &[], &[], None),
            (&["A\nB=one"], &[], &[], None),
            (&["1A=one"], &[], &[], None),
            (&["LD_PRELOAD=one"], &[], &[], None),
            (&[], &[], &["K"], None),
            (&[], &[], &["PATH=key"], None),
            (&[], &[], &[], Some("")),
        ] {
            let failure = read(env, fields, files, stdin).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{env:?} {fields:?} {files:?} {stdin:?}");
        }
    }
}
