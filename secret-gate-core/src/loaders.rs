//! Environment variables that choose what code runs.

/// Variables that change what runs, or what a program loads, rather than hand it a value. An exact command does not see
/// those of its caller, and none can carry a value.
///
/// Variables of single programs that name a server, a proxy or a file without code in it are none: there is no end of them.
pub(crate) fn is_loader_variable(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const PREFIXES: [&str; 12] = [
    "LD_",
    "DYLD_",
    "BASH_FUNC_",
    "PYTHON",
    "PERL5",
    "LUA_",
    "GIT_",
    "CORECLR_",
    "COR_",
    "CARGO_BUILD_",
    "CARGO_TARGET_",
    "GUILE_",
];

const NAMES: [&str; 104] = [
    // the dynamic loader, the C library and other libraries
    "PATH",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "KRB5_CONFIG",
    "LOCPATH",
    "OPENSSL_CONF",
    "OPENSSL_CONF_INCLUDE",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "SASL_PATH",
    "SSLKEYLOGFILE",
    // shells
    "BASH_ENV",
    "BASHOPTS",
    "ENV",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SHELLOPTS",
    "ZDOTDIR",
    // interpreters and virtual machines
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "MAVEN_OPTS",
    "GRADLE_OPTS",
    "DOTNET_ADDITIONAL_DEPS",
    "DOTNET_ROOT",
    "DOTNET_SHARED_STORE",
    "DOTNET_STARTUP_HOOKS",
    "BUN_OPTIONS",
    "ELECTRON_RUN_AS_NODE",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NPM_CONFIG_GLOBALCONFIG",
    "NPM_CONFIG_NODE_OPTIONS",
    "NPM_CONFIG_SCRIPT_SHELL",
    "NPM_CONFIG_USERCONFIG",
    "npm_config_globalconfig",
    "npm_config_node_options",
    "npm_config_script_shell",
    "npm_config_userconfig",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "BUNDLE_GEMFILE",
    "GEM_HOME",
    "GEM_PATH",
    "RUBYLIB",
    "RUBYOPT",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "ERL_LIBS",
    "ERL_ZFLAGS",
    "ELIXIR_ERL_OPTIONS",
    "JULIA_LOAD_PATH",
    "R_ENVIRON",
    "R_ENVIRON_USER",
    "R_LIBS",
    "R_LIBS_USER",
    "R_PROFILE",
    "R_PROFILE_USER",
    "TCLLIBPATH",
    "TCL_LIBRARY",
    // compilers and builders
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_HOME",
    "GOENV",
    "GOFLAGS",
    "GOROOT",
    "GNUMAKEFLAGS",
    "MAKEFILES",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    // programs that call others
    "ANSIBLE_CONFIG",
    "BROWSER",
    "EDITOR",
    "EXINIT",
    "LESSCLOSE",
    "LESSOPEN",
    "MANPAGER",
    "PAGER",
    "PSQLRC",
    "PSQL_PAGER",
    "RSYNC_RSH",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "SYSTEMD_PAGER",
    "TF_CLI_ARGS",
    "TF_CLI_CONFIG_FILE",
    "VIMINIT",
    "VISUAL",
    // where programs look for files that say such things
    "CURL_HOME",
    "HELM_PLUGINS",
    "INPUTRC",
    "MYSQL_HOME",
    "SYSTEM_WGETRC",
    "WGETRC",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_for_programs_are_no_loaders() {
        for name in
            ["PYTHONSTARTUP", "LD_AUDIT", "OPENSSL_CONF", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "PATH"]
        {
            assert!(is_loader_variable(name), "{name}");
        }
        let values =
            ["PGPASSWORD", "CARGO_REGISTRY_TOKEN", "NPM_TOKEN", "KUBECONFIG", "TF_VAR_token", "path", "HOME", ""];
        for name in values {
            assert!(!is_loader_variable(name), "{name}");
        }
    }
}
