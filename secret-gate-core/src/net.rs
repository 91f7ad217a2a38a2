//! What all that talks to servers here shares, whichever HTTP library it talks through.

use std::net::IpAddr;
#[cfg(any(feature = "onepassword", feature = "telegram"))]
use std::time::Duration;

/// Whether a URL's host is this machine: `localhost` or a loopback address.
pub(crate) fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether calls may go through a proxy that the environment names: over plain `http` it would read the credentials, and
/// what is on this machine needs none.
pub(crate) fn may_use_proxy(scheme: &str, host: Option<&str>) -> bool {
    scheme == "https" && !is_loopback(host)
}

/// Between half of the pause and all of it, so that callers who failed together do not come back together.
#[cfg(any(feature = "onepassword", feature = "telegram"))]
pub(crate) fn jittered(pause: Duration) -> Duration {
    // without randomness the pause is merely less spread
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share / 2.0)
}
