//! Files of variables, as `run --env-file` takes them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secret_gate_core::SecretReference;
use secret_gate_core::exec::{Delivery, ExecError};

use crate::exit::Exit;
use crate::failure::Failure;

/// The largest file that is read, in bytes: more than all variables of a program may have together.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What a variable is to carry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The field that this refers to.
    Secret(SecretReference),
    /// This text.
    Plain(String),
}

/// What files of variables say.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub(crate) values: BTreeMap<String, Value>,
    /// What the user should know of it.
    pub(crate) warnings: Vec<String>,
}

impl Variables {
    /// Reads these files; of variables that are in several, the last counts.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for file in files {
            all.add(file)?;
        }
        Ok(all)
    }

    fn add(&mut self, file: &Path) -> Result<(), Failure> {
        let fail = |problem: &str| Failure::new(Exit::Usage, format!("{}: {problem}", file.display()));
        let mut text = Vec::new();
        let read = File::open(file).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text));
        read.map_err(|error| fail(&error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(fail("it is larger than 4 MiB"));
        }

        let passed = Cell::new(0);
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let mut places = BTreeMap::new();
        let mut last = 0;
        for pair in dotenvy::from_read_iter(LineByLine { rest: text, passed: &passed }) {
            let place = Place { file, first: std::mem::replace(&mut last, passed.get()) + 1, last };
            // never the line, which may hold a value
            let (variable, value) = pair.map_err(|error| match error {
                dotenvy::Error::Io(error) => place.fail(&error.to_string()),
                _ => place
                    .fail("it is not of the form VARIABLE=VALUE")
                    .with_hint("a value with spaces needs quotes: VARIABLE='op://vault/item name/field'"),
            })?;
            let value = self.value(&variable, value, &place)?;
            if let Some(before) = places.insert(variable.clone(), place.last) {
                let before = format!("the one in line {before} does not count");
                self.warnings.push(format!("{}: {variable} is there twice; {before}", place.line()));
            }
            self.values.insert(variable, value);
        }
        Ok(())
    }

    fn value(&mut self, variable: &str, value: String, place: &Place<'_>) -> Result<Value, Failure> {
        let may_carry = Delivery::Variable(variable.to_owned()).check();
        if !value.starts_with(SecretReference::SCHEME) {
            if value.contains(SecretReference::SCHEME) {
                let only = "only a value that is a reference as a whole is replaced";
                self.warnings.push(format!("{}: {variable} goes as it stands; {only}", place.line()));
            }
            if matches!(may_carry, Err(ExecError::LoaderVariable { .. })) {
                let dropped = "changes what programs load, so an exact command does not get it";
                self.warnings.push(format!("{}: {variable} {dropped}", place.line()));
            }
            return Ok(Value::Plain(value));
        }
        // a reference has no line end in it, so it stands in the last line
        let fail = |problem: &str| Failure::new(Exit::Usage, format!("{}: {problem}", place.line()));
        may_carry.map_err(|error| fail(&error.to_string()))?;
        let reference = value.parse().map_err(|error| {
            let failure = fail(&format!("{variable}: {value} is no secret reference: {error}"));
            failure.with_hint("it looks like op://vault/item/field")
        })?;
        Ok(Value::Secret(reference))
    }
}

/// Where in a file a variable is.
struct Place<'a> {
    file: &'a Path,
    /// The line after the last variable before, counted from 1.
    first: usize,
    /// Its last line.
    last: usize,
}

impl Place<'_> {
    fn line(&self) -> String {
        format!("{}, line {}", self.file.display(), self.last.max(1))
    }

    fn fail(&self, problem: &str) -> Failure {
        let Self { file, first, last } = self;
        let place = if first < last { format!("lines {first} to {last}") } else { format!("line {last}") };
        Failure::new(Exit::Usage, format!("{}, {place}: {problem}", file.display()))
    }
}

/// Hands out a line at a time, and counts them.
struct LineByLine<'a> {
    rest: &'a [u8],
    passed: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let (now, later) = line.split_at(line.len().min(buffer.len()));
        for (to, from) in buffer.iter_mut().zip(now) {
            *to = *from;
        }
        if !now.is_empty() && later.is_empty() {
            self.passed.set(self.passed.get() + 1);
        }
        self.rest = self.rest.get(now.len()..).unwrap_or_default();
        Ok(now.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&[u8]]) -> Result<Variables, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..texts.len()).map(|number| folder.path().join(format!("{number}.env"))).collect();
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).unwrap();
        }
        Variables::read(&files)
    }

    fn plain(text: &str) -> Option<Value> {
        Some(Value::Plain(text.to_owned()))
    }

    #[test]
    fn reads_what_such_files_hold() {
        let text = "\u{feff}# what the tests need\r\n\r\nexport A='it''s $HOME' # here\r\nB=\"two\nlines\"\n\
                    C='op://infra/the db/pass wörd'\n";
        let all = read(&[text.as_bytes()]).unwrap();
        assert_eq!(all.values.get("A").map(|value| format!("{value:?}")).unwrap(), "Plain(\"its $HOME\")");
        assert_eq!(all.values.get("B"), plain("two\nlines").as_ref());
        let secret = Value::Secret("op://infra/the db/pass wörd".parse().unwrap());
        assert_eq!(all.values.get("C"), Some(&secret));
        assert!(all.warnings.is_empty() && read(&[b""]).unwrap().values.is_empty(), "{all:?}");
        // a later file wins, and nobody need know
        let all = read(&[b"A=1\nB=1", b"A=2"]).unwrap();
        assert!(all.values.get("A") == plain("2").as_ref() && all.values.get("B") == plain("1").as_ref());
        assert!(all.warnings.is_empty());
    }

    #[test]
    fn names_the_line_of_a_mistake_and_shows_no_value() {
        for (text, words) in [
            (&b"A=1\n\n# x\nB=op://infra/db\n"[..], ", line 4: B: op://infra/db is no secret reference"),
            (b"A=1\nB=op://infra/db", ", line 2: B: op://infra/db is no"),
            (b"A=1\nLD_PRELOAD=op://infra/db/p\n", ", line 2: LD_PRELOAD must not carry a value"),
            (b"a.b=op://infra/db/p\n", ", line 1: \"a.b\" can't be the name"),
            (b"A=1\ns3cret value\nB=2", ", line 2: it is not of the form"),
            (b"A=1\nB=\"s3cret\nvalue\n", ", lines 2 to 3: it is not of the form"),
            (b"A=1\nB=s3cret\xff\n", ", line 2: "),
            (b"=s3cret\n", ", line 1: it is not of the form"),
        ] {
            let failure = read(&[text]).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.what.contains(words), "{}", failure.what);
            assert!(!failure.what.contains("s3cret"), "{}", failure.what);
        }
        assert!(read(&[b"C=op://infra/the db/p\n"]).unwrap_err().hint.unwrap().contains("needs quotes"));
        let long = [&b"A=1\nB="[..], &vec![b'x'; 20_000], b"\nC=op://x\n"].concat();
        assert!(read(&[&long]).unwrap_err().what.contains(", line 3: C"));
        assert!(read(&[&vec![b'#'; 4 * 1024 * 1024 + 1]]).unwrap_err().what.contains("larger than 4 MiB"));
        assert!(
            Variables::read(&[PathBuf::from("/nonexistent/.env")]).unwrap_err().what.contains("/nonexistent/.env: ")
        );
    }

    #[test]
    fn says_what_is_easily_overlooked() {
        for (text, words) in [
            (&b"A=1\nB=2\nA=3\n"[..], ", line 3: A is there twice; the one in line 1 does not count"),
            (b"URL=postgres://u:op://infra/db/p@host\n", ", line 1: URL goes as it stands"),
            (b"P=op://infra/db/p\nURL=postgres://u:$P@host\n", ", line 2: URL goes as it stands"),
            (b"LD_PRELOAD=/x.so\n", ", line 1: LD_PRELOAD changes what programs load"),
        ] {
            let all = read(&[text]).unwrap();
            assert!(all.warnings.len() == 1 && all.warnings[0].contains(words), "{:?}", all.warnings);
        }
    }
}
