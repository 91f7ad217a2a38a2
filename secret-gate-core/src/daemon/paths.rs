//! Where the daemon's socket is, and whether that place is ours alone.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The daemon's place in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketPath(PathBuf);

/// Why there is no place for a socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The user has no home folder, and there is no runtime folder.
    #[error("there is no folder for the daemon's socket: neither XDG_RUNTIME_DIR nor HOME is set")]
    NoFolder,
    /// A folder belongs to somebody else, or others may write to it.
    #[error("{path} can't be trusted: {problem}")]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A folder can't be made or looked at.
    #[error("{path} can't be used")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SocketPath {
    /// The user's: `$XDG_RUNTIME_DIR/secret-gate.sock`, else the same in `/run/user/UID` where that is theirs, else
    /// `~/.local/state/secret-gate/run/daemon.sock`, in a folder that is made where it is missing.
    ///
    /// # Errors
    /// [`PlaceError`], when none of these is the user's alone.
    pub fn find() -> Result<Self, PlaceError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::find_in(variable("XDG_RUNTIME_DIR"), Path::new("/run/user"), variable("HOME"))
    }

    fn find_in(runtime: Option<PathBuf>, users: &Path, home: Option<PathBuf>) -> Result<Self, PlaceError> {
        let ours = users.join(rustix::process::getuid().as_raw().to_string());
        let is_ours = || check_folder(&ours).is_ok();
        if let Some(folder) = runtime.or_else(|| is_ours().then(|| ours.clone())) {
            check_folder(&folder)?;
            return Ok(Self(folder.join("secret-gate.sock")));
        }
        let folder = home.ok_or(PlaceError::NoFolder)?.join(".local/state/secret-gate/run");
        let unusable = |source| PlaceError::Unusable { path: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(unusable)?;
        check_folder(&folder)?;
        Ok(Self(folder.join("daemon.sock")))
    }

    /// A socket of another name or place; its folder must be the user's alone.
    ///
    /// # Errors
    /// [`PlaceError`], when it is not.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, PlaceError> {
        let path = path.into();
        check_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self(path))
    }

    /// The socket's path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The file that is locked for as long as a daemon serves here.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.0.with_extension("lock")
    }

    /// Whether a socket of ours is there. A link or somebody else's file is an error.
    pub(super) fn check(&self) -> Result<bool, PlaceError> {
        let untrusted = |problem| Err(PlaceError::Untrusted { path: self.0.clone(), problem });
        match fs::symlink_metadata(&self.0) {
            Ok(metadata) if metadata.uid() != rustix::process::getuid().as_raw() => {
                untrusted("it belongs to another user; remove it")
            }
            Ok(metadata) if !metadata.file_type().is_socket() => untrusted("it is not a socket; remove it"),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(PlaceError::Unusable { path: self.0.clone(), source }),
        }
    }
}

/// A folder that is ours and that nobody else can enter.
fn check_folder(folder: &Path) -> Result<(), PlaceError> {
    let path = || folder.to_owned();
    let metadata = fs::symlink_metadata(folder).map_err(|source| PlaceError::Unusable { path: path(), source })?;
    let untrusted = |problem| Err(PlaceError::Untrusted { path: path(), problem });
    if !metadata.is_dir() {
        return untrusted("it is not a folder");
    }
    if metadata.uid() != rustix::process::getuid().as_raw() {
        return untrusted("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return untrusted("others can enter it; run: chmod 700 on it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let private = fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().unwrap()
    }

    #[test]
    fn the_first_place_that_there_is() {
        let (runtime, users, home) = (folder(), folder(), folder());
        let uid = rustix::process::getuid().as_raw().to_string();
        let find = |runtime: Option<&Path>, home: Option<&Path>| {
            SocketPath::find_in(runtime.map(Path::to_owned), users.path(), home.map(Path::to_owned))
        };
        let path = |found: Result<SocketPath, PlaceError>| found.unwrap().as_path().to_owned();
        assert_eq!(path(find(Some(runtime.path()), Some(home.path()))), runtime.path().join("secret-gate.sock"));
        let state = home.path().join(".local/state/secret-gate/run");
        assert_eq!(path(find(None, Some(home.path()))), state.join("daemon.sock"));
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(find(None, None), Err(PlaceError::NoFolder)));

        let ours = users.path().join(&uid);
        fs::create_dir(&ours).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(path(find(None, Some(home.path()))), state.join("daemon.sock"), "others can enter it");
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(path(find(None, Some(home.path()))), ours.join("secret-gate.sock"));
    }

    #[test]
    fn a_place_that_others_reach_is_refused() {
        let runtime = folder();
        let find = |path: &Path| SocketPath::find_in(Some(path.to_owned()), Path::new("/nowhere"), None);
        for mode in [0o710, 0o701, 0o777, 0o750] {
            fs::set_permissions(runtime.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = find(runtime.path()).unwrap_err();
            assert!(error.to_string().contains("others can enter it"), "{error}");
        }
        fs::set_permissions(runtime.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let link = runtime.path().join("link");
        std::os::unix::fs::symlink(runtime.path(), &link).unwrap();
        assert!(find(&link).is_err());
        assert!(find(&runtime.path().join("missing")).is_err());

        let place = find(runtime.path()).unwrap();
        assert!(!place.check().unwrap());
        std::os::unix::fs::symlink("/nowhere", place.as_path()).unwrap();
        assert!(place.check().unwrap_err().to_string().contains("not a socket"));
        fs::remove_file(place.as_path()).unwrap();
        fs::write(place.as_path(), "").unwrap();
        assert!(place.check().is_err());
    }
}
