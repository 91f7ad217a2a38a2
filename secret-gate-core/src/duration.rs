use std::time::Duration;

/// The duration that a text such as `90s`, `15m`, `1h30m`, `1.5h` or `500ms` says; `None` for anything else.
///
/// Units are h, m, s, ms, us and ns. Longer ones are left out on purpose: `M` would be a month beside `m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'h' | 'm' | 's' | 'u' | 'n'));
    plain.then(|| humantime::parse_duration(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases =
            [("90s", 90_000), ("15m", 900_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), (" 500ms ", 500), ("0", 0)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "15M", "2d", "1w", "1y", "1 month", "-5s", "soon", "1x", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
