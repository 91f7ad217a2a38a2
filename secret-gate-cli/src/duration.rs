//! Durations as people write them: `90s`, `15m`, `1h30m`, `1.5h`, `500ms`.

use std::time::Duration;

use secret_gate_core::parse_duration;

/// The duration that the text says, or what to write instead.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration; write it like 90s, 15m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in
            [("90s", 90_000), ("15m", 900_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("500ms", 500), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "-5s", "soon", "1x"] {
            assert!(parse(text).unwrap_err().contains("write it like"), "{text}");
        }
    }
}
