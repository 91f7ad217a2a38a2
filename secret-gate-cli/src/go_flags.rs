//! The flags as Go's `flag` package reads them, which scripts may rely on: `-secret X`, `-format=json`, `--fields=false`.

use std::ffi::OsString;

/// The arguments with every flag of `command` in the form `--flag=value`, so that no value is taken for a flag.
/// Everything from `--` or the first argument that is no flag on stays as it is.
pub(crate) fn normalize(args: impl IntoIterator<Item = OsString>, command: &mut clap::Command) -> Vec<OsString> {
    command.build();
    let mut args = args.into_iter().peekable();
    let mut normal: Vec<OsString> = args.next().into_iter().collect();
    while let Some(arg) = args.next() {
        match flag(&arg, command) {
            Flag::Value(name) if args.peek().is_some_and(|next| next != "--") => {
                let mut joined = OsString::from(format!("--{name}="));
                joined.extend(args.next());
                normal.push(joined);
            }
            Flag::Value(name) | Flag::Alone(name) => normal.push(format!("--{name}").into()),
            Flag::Unknown => normal.push(arg),
            Flag::Not => {
                normal.push(arg);
                break;
            }
        }
    }
    normal.extend(args);
    normal
}

enum Flag {
    /// A flag whose value is the next argument.
    Value(String),
    /// A flag that stands alone or has its value with it.
    Alone(String),
    /// It looks like a flag, but is none of ours.
    Unknown,
    /// No flag.
    Not,
}

fn flag(arg: &OsString, command: &clap::Command) -> Flag {
    let Some(arg) = arg.to_str() else { return Flag::Unknown };
    let Some(text) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else { return Flag::Not };
    if text.is_empty() {
        return Flag::Not;
    }
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    let Some(known) = command.get_arguments().find(|known| known.get_long() == Some(name)) else {
        return Flag::Unknown;
    };
    let stands_alone = name.len() < text.len() || known.is_require_equals_set() || !known.get_action().takes_values();
    if stands_alone { Flag::Alone(text.to_owned()) } else { Flag::Value(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn normal(args: &[&str]) -> Vec<String> {
        let args = std::iter::once("secret-gate").chain(args.iter().copied()).map(OsString::from);
        let mut normal = normalize(args, &mut Cli::command()).into_iter();
        normal.next();
        normal.map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        assert_eq!(normal(&["-secret", "db", "-format=json"]), ["--secret=db", "--format=json"]);
        assert_eq!(normal(&["--secret", "db", "--format", "json"]), ["--secret=db", "--format=json"]);
        assert_eq!(
            normal(&["-fields", "-no-cache=false", "--no-cache"]),
            ["--fields", "--no-cache=false", "--no-cache"]
        );
        assert_eq!(normal(&["-help"]), ["--help"]);
        assert_eq!(normal(&["-version"]), ["--version"]);
    }

    #[test]
    fn values_stay_values() {
        assert_eq!(normal(&["-reason", "-secret"]), ["--reason=-secret"]);
        assert_eq!(normal(&["--reason", "--x=y z", "-vault", ""]), ["--reason=--x=y z", "--vault="]);
        assert_eq!(normal(&["-reason=-vault"]), ["--reason=-vault"]);
    }

    #[test]
    fn the_rest_is_not_touched() {
        assert_eq!(normal(&["-fields", "--", "-secret", "x"]), ["--fields", "--", "-secret", "x"]);
        assert_eq!(normal(&["word", "-secret", "x"]), ["word", "-secret", "x"]);
        assert_eq!(normal(&["-secret", "--", "x"]), ["--secret", "--", "x"]);
        assert_eq!(normal(&["-h", "-V", "-nonsense", "-secret", "x"]), ["-h", "-V", "-nonsense", "--secret=x"]);
        assert_eq!(normal(&["-secret"]), ["--secret"]);
        assert_eq!(normal(&["-"]), ["-"]);
    }
}
