//! The first line of a script: which program runs it.

/// As much of a script as Linux looks at for its first line, in bytes (`BINPRM_BUF_SIZE`).
const MAX_LINE: usize = 256;

/// What the first line of a script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shebang<'a> {
    /// This path, with at most one argument.
    Interpreter(&'a str, Option<&'a str>),
    /// Whatever `PATH` has under this name, with these arguments: what `env NAME` and `env -S NAME ARGUMENT…` do.
    Named(&'a str, Vec<&'a str>),
}

/// Reads the first line; `None` where the content is no script.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn parse(content: &[u8]) -> Result<Option<Shebang<'_>>, &'static str> {
    let Some(rest) = content.strip_prefix(b"#!") else { return Ok(None) };
    let line = rest.get(..MAX_LINE - 2).unwrap_or(rest);
    let line = match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => line.get(..end).unwrap_or_default(),
        None if rest.len() > line.len() => return Err("its first line is too long"),
        None => line,
    };
    let line = std::str::from_utf8(line).map_err(|_| "its first line is not text")?.trim_matches([' ', '\t']);
    if line.contains(['\0', '\r']) {
        return Err("its first line holds a control character");
    }
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim_matches([' ', '\t']))),
        None => (line, None),
    };
    match interpreter.rsplit('/').next() {
        None | Some("") => Err("its first line names no interpreter"),
        Some("env") => named(argument.unwrap_or_default()).map(Some),
        Some(_) => Ok(Some(Shebang::Interpreter(interpreter, argument))),
    }
}

/// What `env` does with its argument.
fn named(argument: &str) -> Result<Shebang<'_>, &'static str> {
    let unsupported = Err("of env in a first line, only `env NAME` and `env -S NAME ARGUMENT…` are supported");
    let mut words = match argument.strip_prefix("-S") {
        // what env itself would take out of the words
        Some(rest) if rest.contains(['"', '\'', '\\', '$', '#']) => return unsupported,
        Some(rest) => rest.split([' ', '\t']).filter(|word| !word.is_empty()).collect(),
        None => vec![argument],
    };
    if words.first().is_none_or(|name| name.is_empty() || name.starts_with('-') || name.contains('=')) {
        return unsupported;
    }
    let name = words.remove(0);
    Ok(Shebang::Named(name, words))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_lines() {
        let parsed = |line: &'static str| parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(parsed("#!/bin/sh\necho"), Shebang::Interpreter("/bin/sh", None));
        assert_eq!(parsed("#!/bin/sh"), Shebang::Interpreter("/bin/sh", None));
        assert_eq!(parsed("#! \t/bin/sh  -e -u \n"), Shebang::Interpreter("/bin/sh", Some("-e -u")));
        assert_eq!(parsed("#!/usr/bin/env python3\n"), Shebang::Named("python3", vec![]));
        assert_eq!(parsed("#!/usr/bin/env -S python3 -u  -I\n"), Shebang::Named("python3", vec!["-u", "-I"]));
        assert_eq!(parsed("#!/usr/bin/env -Snode\n"), Shebang::Named("node", vec![]));
        // env takes it for one name
        assert_eq!(parsed("#!/usr/bin/env python3 -u\n"), Shebang::Named("python3 -u", vec![]));
        for none in ["", "#", "echo", " #!/bin/sh", "\u{7f}ELF"] {
            assert_eq!(parse(none.as_bytes()), Ok(None), "{none}");
        }
    }

    #[test]
    fn lines_that_nothing_is_made_of() {
        let long = format!("#!/{}\n", "x".repeat(300));
        let bad =
            ["#!", "#!\n", "#!  \n", "#!/bin/\n", "#!/usr/bin/env", "#!/usr/bin/env -i sh", "#!/usr/bin/env A=B sh"];
        let more = ["#!/usr/bin/env -S 'a b'", "#!/usr/bin/env -S sh $X", "#!/usr/bin/env -S", "#!/bin/sh\r\n", &long];
        for line in bad.into_iter().chain(more) {
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(parse(b"#!/bin/\xff\n").is_err());
        // the longest that Linux takes
        let fits = format!("#!/{}\n", "x".repeat(252));
        assert!(parse(fits.as_bytes()).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn any_first_line_is_read_or_refused(
            start in "|#|#!|#! ?/(bin/sh|usr/bin/env( -S)?) ",
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let content = [start.as_bytes(), &rest].concat();
            let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
            match parse(&content) {
                Ok(None) => prop_assert!(!content.starts_with(b"#!")),
                Ok(Some(Shebang::Interpreter(path, argument))) => {
                    prop_assert!(!path.is_empty() && !path.contains([' ', '\t', '\n', '\0']));
                    prop_assert!(path.len() + argument.map_or(0, str::len) < line.len());
                }
                Ok(Some(Shebang::Named(name, _))) => {
                    prop_assert!(!name.is_empty() && !name.starts_with('-') && !name.contains('='));
                }
                Err(_) => {}
            }
        }
    }
}
