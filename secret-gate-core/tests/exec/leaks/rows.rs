//! The commands.

use super::read::Shape::{self, Base32, Base64, Letters, Nothing, Numbers, Packed, Text};

/// Programs that a machine may lack. All others must be there where the tests count.
pub(super) const RARE: [&str; 11] =
    ["bzip2", "column", "curl", "hexdump", "jq", "node", "rev", "strings", "xxd", "xz", "zstd"];

/// A command, run by bash, and what it prints of `$T`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: &'static str,
    pub(super) shape: Shape,
}

/// The programs that the commands call, other than bash.
const PROGRAMS: [&str; 41] = [
    "awk",
    "base32",
    "base64",
    "basenc",
    "bzip2",
    "cat",
    "cksum",
    "column",
    "curl",
    "cut",
    "date",
    "env",
    "fold",
    "grep",
    "gzip",
    "head",
    "hexdump",
    "iconv",
    "jq",
    "ls",
    "md5sum",
    "nl",
    "node",
    "od",
    "openssl",
    "paste",
    "perl",
    "printenv",
    "python3",
    "rev",
    "sed",
    "sha256sum",
    "sort",
    "strings",
    "tac",
    "tee",
    "tr",
    "wc",
    "xxd",
    "xz",
    "zstd",
];

impl Row {
    /// The programs that the line calls.
    pub(super) fn programs(&self) -> impl Iterator<Item = &'static str> {
        let words = |line: &'static str| line.split([' ', '(', ')', ';', '|', '<', '>', '\n']);
        words(self.line).filter(|word| PROGRAMS.contains(word))
    }
}

const fn row(line: &'static str, shape: Shape) -> Row {
    Row { line, shape }
}

const HEX: Shape = Numbers { base: 16, digits: 2, bytes: 1 };
const OCTAL: Shape = Numbers { base: 8, digits: 3, bytes: 1 };
const DECIMAL: Shape = Numbers { base: 10, digits: 1, bytes: 1 };
const BINARY: Shape = Numbers { base: 2, digits: 8, bytes: 1 };

pub(super) const ROWS: &[Row] = &[
    // as it is
    row(r#"echo "$T""#, Text),
    row(r#"echo "$T" >&2"#, Text),
    row("env", Text),
    row("env -0", Text),
    row("printenv T", Text),
    row("export -p", Text),
    row("declare -p T", Text),
    row("set", Text),
    row(r#"set -x; : "$T""#, Text),
    row("cat /proc/self/environ", Text),
    row("tr '\\0' '\\n' < /proc/$$/environ", Text),
    row("strings /proc/$$/environ", Text),
    row(r#"cat "/no/such/$T""#, Text),
    row(r#"ls "$T""#, Text),
    row(r#"date -d "$T""#, Text),
    row(r#"python3 -c 'import os; int(os.environ["T"])'"#, Text),
    row(r#"echo "password=$T;user=ann""#, Text),
    row(r#"echo "$T" | tee /dev/stderr | tac"#, Text),
    // quoted, escaped
    row(r#"printf %q "$T""#, Text),
    row(r#"echo "${T@Q}""#, Text),
    row(r#"echo "$T" | sed 's/[^A-Za-z0-9]/\\&/g'"#, Text),
    row(r#"python3 -c 'import os, json; print(json.dumps(os.environ["T"]))'"#, Text),
    row(r#"python3 -c 'import os; print(repr(os.environb[b"T"]))'"#, Text),
    row(r#"python3 -c 'import os; print("".join("\\x%02x" % c for c in os.environb[b"T"]))'"#, Text),
    row(r#"python3 -c 'import os; print("".join("\\u%04x" % c for c in os.environb[b"T"]))'"#, Text),
    row(r#"python3 -c 'import os, urllib.parse as u; print(u.quote(os.environ["T"], safe=""))'"#, Text),
    row(r#"python3 -c 'import os, urllib.parse as u; print(u.urlencode({"t": os.environ["T"]}))'"#, Text),
    row(r#"python3 -c 'import os, html; print(html.escape(os.environ["T"]))'"#, Text),
    row(r#"python3 -c 'import os, quopri; print(quopri.encodestring(os.environb[b"T"]).decode())'"#, Text),
    row(r#"perl -e '$_ = $ENV{T}; s/(.)/sprintf "%%%02X", ord $1/ge; print'"#, Text),
    row(r#"printf %s "$T" | jq -Rs ."#, Text),
    row(r#"printf %s "$T" | jq -Rsr '@uri, @sh, @html, @csv'"#, Text),
    row("node -e 'console.log(JSON.stringify(process.env.T), encodeURIComponent(process.env.T))'", Text),
    row("node -p process.env", Text),
    // HTTP
    row(r#"curl -sv -u "user:$T" http://127.0.0.1:$PORT/"#, Base64),
    row(r#"curl -sv -u "someone:$T" http://127.0.0.1:$PORT/"#, Base64),
    row(r#"curl -sv -H "Authorization: Bearer $T" http://127.0.0.1:$PORT/"#, Text),
    row(r#"curl -svG --data-urlencode "t=$T" http://127.0.0.1:$PORT/"#, Text),
    row(r#"curl -s --trace - -H "X: $T" http://127.0.0.1:$PORT/"#, HEX),
    row(r#"curl -s --trace-ascii - -H "X: $T" http://127.0.0.1:$PORT/"#, Text),
    // spaced, wrapped, turned
    row(r#"echo "$T" | rev"#, Text),
    row(r#"echo "$T" | fold -w1"#, Text),
    row(r#"echo "$T" | fold -w1 | tac"#, Text),
    row(r#"echo "$T" | fold -w20"#, Text),
    row(r#"echo "$T" | grep -o ."#, Text),
    row(r#"echo "$T" | sed 's/./& /g'"#, Text),
    row(r#"echo "$T" | sed 's/./&-/g'"#, Text),
    row(r#"echo "$T" | fold -w1 | paste -sd,"#, Text),
    row(r#"echo "$T" | fold -w1 | nl"#, Text),
    row(r#"echo "$T" | awk '{ for (i = 1; i <= length; i++) print i, substr($0, i, 1) }'"#, Text),
    row(r#"echo "$T" | fold -w1 | column -c 80"#, Packed),
    row(r#"echo "$T" | grep --color=always '[0-9]'"#, Text),
    row(r#"echo "$T" | iconv -t UTF-16LE"#, Text),
    row(r#"echo "$T" | iconv -t UTF-16BE"#, Text),
    row(r#"echo "$T" | iconv -t UTF-32LE"#, Text),
    row(r#"echo "$T" | iconv -f ASCII -t IBM037"#, Packed),
    // letters changed
    row(r#"echo "$T" | tr a-z A-Z"#, Letters),
    row(r#"echo "${T,,}""#, Letters),
    row(r#"echo "$T" | tr A-Za-z N-ZA-Mn-za-m"#, Letters),
    row(r#"echo "$T" | tr A-Za-z B-ZAb-za"#, Packed),
    row(r#"echo "$T" | tr a-z A-Z | rev"#, Packed),
    // parts
    row(r#"echo "$T" | cut -c1-12"#, Text),
    row(r#"echo "$T" | cut -c1-11"#, Text),
    row(r#"echo "$T" | cut -c1-8"#, Text),
    row(r#"echo "$T" | cut -c5-"#, Text),
    row(r#"echo "${T:0:16}"; echo and; echo "${T:16}""#, Text),
    row(r#"echo "${T:0:10}"; echo and; echo "${T:10:10}"; echo and; echo "${T:20}""#, Text),
    row(r#"echo "$T" | head -c 4"#, Nothing),
    // encoded
    row(r#"printf %s "$T" | base64"#, Base64),
    row(r#"printf %s "$T" | base64 -w0"#, Base64),
    row(r#"printf %s "$T" | base64 -w5"#, Base64),
    row(r#"printf %s "x$T" | base64"#, Base64),
    row(r#"printf %s "xy$T" | base64"#, Base64),
    row(r#"env | base64"#, Base64),
    row(r#"printf %s "$T" | openssl enc -base64"#, Base64),
    row(r#"printf %s "$T" | basenc --base64url"#, Base64),
    row(r#"perl -MMIME::Base64 -e 'print encode_base64($ENV{T})'"#, Base64),
    row(r#"printf %s "$T" | base32"#, Base32),
    row(r#"printf %s "$T" | basenc --base32hex"#, Packed),
    row(r#"printf %s "$T" | basenc --z85"#, Packed),
    row(r#"python3 -c 'import os, base64; print(base64.b85encode(os.environb[b"T"]))'"#, Packed),
    row(r#"python3 -c 'import os, base64; print(base64.a85encode(os.environb[b"T"]))'"#, Packed),
    row(r#"python3 -c 'import os, binascii; print(binascii.b2a_uu(os.environb[b"T"]))'"#, Packed),
    row(r#"printf %s "$T" | base64 | base64"#, Packed),
    row(r#"printf %s "$T" | rev | base64"#, Packed),
    row(r#"printf %s "$T" | base64 | rev"#, Packed),
    row(r#"printf %s "$T" | base64 | tr a-z A-Z"#, Packed),
    row(r#"printf %s "$T" | base64 | sed 's/./&-/g'"#, Packed),
    // numbers
    row(r#"printf %s "$T" | xxd"#, HEX),
    row(r#"printf %s "$T" | xxd -p"#, HEX),
    row(r#"printf %s "$T" | xxd -p -c 5"#, HEX),
    row(r#"printf %s "$T" | xxd -u"#, HEX),
    row(r#"printf %s "$T" | xxd -i"#, HEX),
    row(r#"printf %s "$T" | xxd -b"#, BINARY),
    row(r#"printf %s "$T" | xxd -e"#, Numbers { base: 16, digits: 8, bytes: 4 }),
    row(r#"printf %s "$T" | xxd -p | rev"#, Packed),
    row(r#"printf %s "$T" | hexdump"#, Numbers { base: 16, digits: 4, bytes: 2 }),
    row(r#"printf %s "x$T" | hexdump"#, Numbers { base: 16, digits: 4, bytes: 2 }),
    row(r#"printf %s "$T" | hexdump -C"#, HEX),
    row(r#"printf %s "$T" | hexdump -v -e '/1 "%02x:"'"#, HEX),
    row(r#"printf %s "$T" | hexdump -b"#, OCTAL),
    row(r#"printf %s "$T" | hexdump -c"#, Text),
    row(r#"printf %s "$T" | od"#, Numbers { base: 8, digits: 6, bytes: 2 }),
    row(r#"printf %s "$T" | od -c"#, Text),
    row(r#"printf %s "$T" | od -An -c"#, Text),
    row(r#"printf %s "$T" | od -a"#, Text),
    row(r#"printf %s "$T" | od -An -tx1"#, HEX),
    row(r#"printf %s "$T" | od -tx1"#, HEX),
    row(r#"printf %s "$T" | od -An -tx1z"#, HEX),
    row(r#"printf %s "$T" | od -An -tx2"#, Numbers { base: 16, digits: 4, bytes: 2 }),
    row(r#"printf %s "$T" | od -An -tx4"#, Numbers { base: 16, digits: 8, bytes: 4 }),
    row(r#"printf %s "$T" | od -An -tx8"#, Numbers { base: 16, digits: 16, bytes: 8 }),
    row(r#"printf %s "$T" | od -An -to1"#, OCTAL),
    row(r#"printf %s "$T" | od -An -tu1"#, DECIMAL),
    row(r#"printf %s "$T" | od -An -tu4"#, Numbers { base: 10, digits: 1, bytes: 4 }),
    row(r#"printf %s "$T" | basenc --base16"#, HEX),
    row(r#"printf %s "$T" | basenc --base2msbf"#, BINARY),
    row(r#"printf %s "$T" | openssl enc -base64 -A"#, Base64),
    row(r#"perl -e 'print unpack "H*", $ENV{T}'"#, HEX),
    row(r#"perl -e 'print join " ", map ord, split //, $ENV{T}'"#, DECIMAL),
    row(r#"python3 -c 'import os; print(list(os.environb[b"T"]))'"#, DECIMAL),
    row(r#"python3 -c 'import os; print([hex(c) for c in os.environb[b"T"]])'"#, HEX),
    row(r#"python3 -c 'import os; print(os.environb[b"T"].hex(":"))'"#, HEX),
    row(r#"python3 -c 'import os; print(int.from_bytes(os.environb[b"T"]))'"#, Packed),
    row(r#"node -e 'console.log(Buffer.from(process.env.T))'"#, HEX),
    row(r#"node -e 'console.log([...Buffer.from(process.env.T)].join())'"#, DECIMAL),
    row(r#"node -e 'console.log(JSON.stringify(Buffer.from(process.env.T)))'"#, DECIMAL),
    // packed, encrypted
    row(r#"printf %s "$T" | gzip -c"#, Packed),
    row(r#"printf %s "$T" | gzip -c | base64"#, Packed),
    row(r#"printf %s "$T" | bzip2 -c | base64"#, Packed),
    row(r#"printf %s "$T" | xz -c | base64"#, Packed),
    row(r#"printf %s "$T" | zstd -c | base64"#, Packed),
    row(r#"printf %s "$T" | openssl enc -aes-256-cbc -pbkdf2 -pass pass:x -base64"#, Packed),
    // only what follows from it
    row(r#"printf %s "$T" | sha256sum"#, Nothing),
    row(r#"printf %s "$T" | md5sum"#, Nothing),
    row(r#"printf %s "$T" | cksum"#, Nothing),
    row(r#"echo hello | openssl dgst -sha256 -hmac "$T""#, Nothing),
    row(r#"printf %s "$T" | wc -c"#, Nothing),
    row(r#"printf %s "$T" | fold -w1 | sort | tr -d '\n'"#, Nothing),
    row(r#"test -n "$T" && echo set"#, Nothing),
];
