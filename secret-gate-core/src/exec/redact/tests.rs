use proptest::prelude::*;

use super::*;

const TOKEN: &str = "s3cret/T0ken+with=32&characters!";

fn redactor(values: &[&str]) -> Redactor {
    let values: Vec<SecretValue> = values.iter().map(|value| SecretValue::copy_of(value)).collect();
    Redactor::new(values.iter().enumerate().map(|(at, value)| (format!("v{at}"), value))).unwrap()
}

fn redacted(values: &[&str], text: &str) -> String {
    String::from_utf8(redactor(values).redact(text.as_bytes())).unwrap()
}

#[test]
fn text_without_values_passes_unharmed() {
    let binary: Vec<u8> = (0..=255_u8).cycle().take(200_000).collect();
    assert_eq!(redactor(&[TOKEN]).redact(&binary), binary);
    assert_eq!(redacted(&[TOKEN], ""), "");
    assert_eq!(redactor(&[]).redact(b"%41 \\x \\"), b"%41 \\x \\");
}

#[test]
fn each_value_is_replaced_by_its_label() {
    assert_eq!(redacted(&["hunter2x", "abcdefgh"], "a hunter2x b abcdefgh c"), "a [redacted:v0] b [redacted:v1] c");
    assert_eq!(redacted(&["hunter2x", "abcdefgh"], "hunter2xabcdefgh"), "[redacted:v0][redacted:v1]");
    assert_eq!(redacted(&["hunter2x"], "hunter2xhunter2x."), "[redacted:v0].");
    // one value that runs into another
    assert_eq!(redacted(&["abcdefgh", "efghijkl"], "-abcdefghijkl-"), "-[redacted:v0]-");
}

#[test]
fn nothing_short_is_taken() {
    for short in ["", "12345", "a b c d e", " \n\t"] {
        let value = SecretValue::copy_of(short);
        assert_eq!(Redactor::new([("x/y", &value)]).unwrap_err().label, "x/y");
    }
    assert_eq!(redacted(&["123456"], "12345 123456 1234567"), "12345 [redacted:v0] [redacted:v0]7");
}

#[test]
fn pieces_of_twelve_bytes_are_found() {
    let shown = redacted(&[TOKEN], &format!("<{}>", &TOKEN[..12]));
    assert_eq!(shown, "<[redacted:v0]>");
    for (from, to) in [(0, 12), (3, 15), (20, 32), (1, 31)] {
        assert_eq!(redacted(&[TOKEN], &format!("<{}>", &TOKEN[from..to])), "<[redacted:v0]>", "{from}..{to}");
    }
    // shorter pieces are a stated miss
    let short = format!("<{}>", &TOKEN[4..15]);
    assert_eq!(redacted(&[TOKEN], &short), short);
}

#[test]
fn of_a_key_lines_are_found_and_armour_is_not() {
    let line = |c: char| c.to_string().repeat(31) + "+" + &c.to_string().repeat(31) + "=";
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n{}\nshort\n-----END PRIVATE KEY-----\n", line('a'), line('b'));
    let shown = redacted(&[&key], &key);
    assert_eq!(shown, "-----BEGIN PRIVATE KEY-----\n[redacted:v0]\n-----END PRIVATE KEY-----\n");
    assert_eq!(redacted(&[&key], &line('b')), "[redacted:v0]");
    let folded: String = line('b').chars().map(|c| format!("{c}\n")).collect();
    assert_eq!(redacted(&[&key], &folded), "[redacted:v0]\n");
}

#[test]
fn one_marker_however_the_output_is_cut() {
    let text = format!("before {TOKEN} after");
    let whole = redactor(&[TOKEN]).redact(text.as_bytes());
    for cut in 0..=text.len() {
        for pause in [false, true] {
            let mut stream = redactor(&[TOKEN]).stream();
            let mut shown = stream.push(&text.as_bytes()[..cut]);
            // a pause within the first bytes shows those, and only those
            if pause && (cut <= 7 || cut >= 13) {
                shown.extend(stream.pause());
            }
            shown.extend(stream.push(&text.as_bytes()[cut..]));
            shown.extend(stream.finish());
            assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&whole), "cut at {cut}, pause {pause}");
        }
    }
}

#[test]
fn a_pause_shows_a_prompt_and_little_of_a_value() {
    let mut stream = redactor(&["Password: hunter2"]).stream();
    assert_eq!(stream.push(b"Login: s"), b"Login: s");
    assert_eq!(stream.push(b"Pass"), b"");
    assert_eq!(stream.pause(), b"Pass");
    assert_eq!(stream.pause(), b"");
    assert_eq!(stream.push(b"word: hunt"), b"");
    assert_eq!(stream.pause(), b"", "more than six bytes of a value stay");
    assert_eq!(stream.push(b"er2"), b"[redacted:v0]");
    assert_eq!(stream.finish(), b"");
}

#[test]
fn a_held_beginning_is_shown_when_the_output_ends() {
    let mut stream = redactor(&[TOKEN]).stream();
    let half = &TOKEN.as_bytes()[..11];
    assert_eq!(stream.push(half), b"");
    assert_eq!(stream.finish(), half);
    // white space without end holds nothing up for ever
    let mut stream = redactor(&[TOKEN]).stream();
    assert_eq!(stream.push(&TOKEN.as_bytes()[..4]), b"");
    let spaces = vec![b' '; 100_000];
    assert!(stream.push(&spaces).len() > 90_000);
}

#[test]
fn degenerate_values_take_bounded_time() {
    let started = std::time::Instant::now();
    let long = "a".repeat(60_000);
    let shown = redactor(&[&long, &"ab".repeat(50)]).redact(&vec![b'a'; 300_000]);
    assert!(shown.starts_with(b"[redacted:v0]") && shown.len() < 100_000, "{}", shown.len());
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Ways in which commands write a value.
fn disguises(value: &str) -> Vec<(&'static str, String)> {
    use data_encoding::{BASE32, BASE64, BASE64URL, HEXLOWER};
    let bytes = value.as_bytes();
    let each = |separator: &str, write: &dyn Fn(u8) -> String| {
        bytes.iter().map(|byte| write(*byte)).collect::<Vec<_>>().join(separator)
    };
    let wrapped = |text: String, width: usize| {
        text.as_bytes().chunks(width).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n")
    };
    vec![
        ("literal", value.to_owned()),
        ("base64", BASE64.encode(bytes)),
        ("base64url", BASE64URL.encode(bytes)),
        ("HTTP Basic", BASE64.encode(format!("user:{value}").as_bytes())),
        ("base64 after two bytes", BASE64.encode(format!("ab{value}cd").as_bytes())),
        ("base64, wrapped", wrapped(BASE64.encode(bytes), 7)),
        ("base32", BASE32.encode(bytes)),
        ("hex", HEXLOWER.encode(bytes)),
        ("HEX", HEXLOWER.encode(bytes).to_uppercase()),
        ("hex, spaced", each(" ", &|byte| format!("{byte:02x}"))),
        ("hex with colons", each(":", &|byte| format!("{byte:02X}"))),
        ("C array", each(", ", &|byte| format!("0x{byte:02x}"))),
        ("\\x", each("", &|byte| format!("\\x{byte:02x}"))),
        ("octal", each("", &|byte| format!("\\{byte:03o}"))),
        ("decimal", each(", ", &|byte| byte.to_string())),
        ("binary", each(" ", &|byte| format!("{byte:08b}"))),
        ("percent", each("", &|byte| format!("%{byte:02X}"))),
        ("JSON", serde_json::to_string(value).unwrap()),
        ("reversed", value.chars().rev().collect()),
        ("one character a line", value.chars().map(|c| format!("{c}\n")).collect()),
        ("folded", wrapped(value.to_owned(), 5)),
        ("shell quoted", shlex::try_quote(value).unwrap().into_owned()),
        (
            "backslashes",
            value.chars().map(|c| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() }).collect(),
        ),
        ("UTF-16", value.chars().map(|c| format!("{c}\0")).collect()),
    ]
}

/// Whether eight bytes in a row of the disguise are left to see, white space and case aside.
fn leaks(shown: &[u8], disguised: &str) -> bool {
    let plain =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect() };
    let (shown, disguised) = (plain(shown), plain(disguised.as_bytes()));
    let edge = 8;
    let inner = disguised.get(edge..disguised.len().saturating_sub(edge)).unwrap_or_default();
    inner.windows(8).any(|window| shown.windows(8).any(|seen| seen == window))
}

#[test]
fn every_disguise_is_seen_through() {
    for value in [TOKEN, "päss \"w0rd\" 'of' \\ 24 chars", "AKIAIOSFODNN7EXAMPLE", "correct horse battery staple"] {
        for (name, text) in disguises(value) {
            let text = format!("-- {text} --");
            let shown = redactor(&[value]).redact(text.as_bytes());
            let shown_text = String::from_utf8_lossy(&shown);
            assert!(
                shown_text.contains("[redacted:v0]") && !leaks(&shown, &text),
                "{name} of {value}: {text} became {shown_text}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_cut_and_no_surroundings_bring_a_value_out(
        value in "[!-~]{8,60}",
        before in "[ -~]{0,40}",
        cuts in proptest::collection::vec(1_usize..40, 1..40),
    ) {
        let redactor = redactor(&[&value]);
        for (name, disguised) in disguises(&value) {
            let text = format!("{before} {disguised} {before}");
            let mut stream = redactor.stream();
            let (mut shown, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                shown.extend(stream.push(piece));
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            shown.extend(stream.finish());
            prop_assert!(!leaks(&shown, &disguised), "{name}: {text} became {}", String::from_utf8_lossy(&shown));
            prop_assert_eq!(&shown, &redactor.redact(text.as_bytes()), "{}: cuts change nothing", name);
        }
    }

    #[test]
    fn other_text_passes_unharmed(text in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0_usize..3000) {
        // no value of these forms can be in there
        let redactor = redactor(&["\u{10FFFD}\u{10FFFD}\u{10FFFD}\u{10FFFD}"]);
        let (one, other) = text.split_at(cut.min(text.len()));
        let mut stream = redactor.stream();
        let mut shown = stream.push(one);
        shown.extend(stream.push(other));
        shown.extend(stream.finish());
        prop_assert_eq!(shown, text);
    }
}

/// Which bytes a search hides that looks at every one of them in every reading.
fn hidden_plainly(value: &str, output: &[u8]) -> Vec<bool> {
    let bytes = || output.iter().copied().enumerate().map(|(at, byte)| (byte, at, at + 1));
    let mut reading = escapes::Reading::default();
    reading.read(output, true);
    let unescaped = (0..reading.bytes.len())
        .map(|at| (reading.bytes[at], reading.start(at).unwrap_or_default(), reading.end(at).unwrap_or_default()));
    let readings = [
        (Lane::Text, bytes().filter(|(byte, ..)| Lane::Text.keeps(*byte)).collect::<Vec<_>>()),
        (Lane::Text, unescaped.collect()),
        (Lane::Digits, bytes().filter(|(byte, ..)| Lane::Digits.keeps(*byte)).collect()),
    ];
    let mut hidden = vec![false; output.len()];
    for (lane, reading) in &readings {
        for form in forms(value).iter().filter(|form| form.lane == *lane) {
            let (key, step) = match form.piece {
                Some(piece) if piece < form.text.len() => (piece.min(index::KEY), 1),
                _ => (form.text.len().min(index::KEY), 16),
            };
            let last = form.text.len() - key;
            for (at, offset) in
                (0..reading.len()).flat_map(|at| (0..last).step_by(step).chain([last]).map(move |offset| (at, offset)))
            {
                let same = |at: usize, offset: usize| {
                    reading[at..]
                        .iter()
                        .zip(&form.text[offset..])
                        .take_while(|((one, ..), other)| one == *other)
                        .count()
                };
                let length = same(at, offset);
                if length >= key {
                    let before =
                        (1..=at.min(offset)).take_while(|back| reading[at - back].0 == form.text[offset - back]);
                    let start = reading[at - before.count()].1;
                    hidden[start..reading[at + length - 1].2].fill(true);
                }
            }
        }
    }
    hidden
}

fn without(hidden: &[bool], output: &[u8]) -> String {
    let mut shown = Vec::new();
    for (at, byte) in output.iter().enumerate() {
        match (hidden[at], at > 0 && hidden[at - 1]) {
            (true, false) => shown.extend(b"[redacted:v0]"),
            (true, true) => {}
            (false, _) => shown.push(*byte),
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn steps_and_zones_miss_nothing(
        value in "[!-~]{6,18}|[a-f0-9 %&'\"\\\\]{8,40}|[a-zA-Z0-9/+]{20,60}",
        parts in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..90, 1_usize..90, "[ -~]{0,8}|\n{0,3}|[0-9a-f ]{0,40}|%2|\\\\|\u{1b}\\[1m| {70}"), 1..12),
        cut in 0_usize..600,
    ) {
        prop_assume!(lanes::squeezed(&value).len() >= MIN_REDACTED);
        let disguises = disguises(&value);
        let mut output = String::new();
        for (which, skipped, taken, glue) in parts {
            let (_, disguise) = which.get(&disguises);
            output.extend(disguise.chars().skip(skipped % disguise.chars().count()).take(taken));
            output.push_str(&glue);
        }
        let redactor = redactor(&[&value]);
        let shown = String::from_utf8_lossy(&redactor.redact(output.as_bytes())).into_owned();
        let hidden = hidden_plainly(&value, output.as_bytes());
        prop_assert_eq!(&shown, &without(&hidden, output.as_bytes()), "{:?}", output);
        // of a part of a value that is cut itself, the beginning may have been shown
        let cut = cut.min(output.len());
        if cut == 0 || cut == output.len() || !(hidden[cut - 1] && hidden[cut]) {
            let (mut stream, (one, other)) = (redactor.stream(), output.as_bytes().split_at(cut));
            let mut in_two = stream.push(one);
            in_two.extend(stream.push(other));
            in_two.extend(stream.finish());
            prop_assert_eq!(String::from_utf8_lossy(&in_two), shown, "cut at {} of {:?}", cut, output);
        }
    }
}
