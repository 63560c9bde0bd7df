//! `livepatch config`.

use std::io::{self, Read};
use std::time::Duration;

use super::print;
use crate::config::{Fragment, Key, KeyError, Settings, Span};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::files;
use crate::paths::Paths;
use crate::sandbox::ServiceUser;
use crate::socket::{self, Request};

/// Longest value that is read from the standard input: a bundle of certificates.
const STDIN_LIMIT: u64 = 1 << 20;
/// How long the daemon may take to hear that a setting was changed.
const REREAD_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: remote-server, ca-certs, check-interval (minutes, 0 = off), \
                        http-proxy, https-proxy, no-proxy, log-level, settle-time, \
                        transition-timeout, reverse-after, patch-delay (5m, 12h, 3d; 0 = none), \
                        cutoff-date (2026-11-25T00:00:00Z), root, allow-plain-http"
)]
pub struct Args {
    /// KEY shows a value, KEY=VALUE sets it, KEY= clears it, KEY=@stdin reads it from the standard
    /// input; without any, all values are shown.
    #[arg(value_name = "KEY|KEY=VALUE")]
    items: Vec<String>,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    if args.items.is_empty() {
        let text = serde_saphyr::to_string(&effective(paths)?)
            .map_err(|error| Failure::from_error(&error))?;
        print(&text)?;
        return Ok(ExitCode::Success);
    }
    if args.items.iter().all(|item| item.contains('=')) {
        change(paths, &args.items)?;
        // A daemon that does not run reads the settings when it starts.
        let _ = socket::call(&paths.socket(), &Request::Reread, REREAD_PATIENCE);
        return Ok(ExitCode::Success);
    }
    let effective = effective(paths)?;
    for item in &args.items {
        let value = key(item)?.get(&effective).unwrap_or_default();
        print(&format!("{value}\n"))?;
    }
    Ok(ExitCode::Success)
}

/// What the files say, with the defaults where they say nothing.
fn effective(paths: &Paths) -> Result<Fragment, Failure> {
    let mut merged = merged(paths)?;
    let settings = Settings::check(&merged, paths).map_err(|error| Failure::from_error(&error))?;
    merged.check_interval = Some(
        settings
            .check_interval
            .map_or(0, |time| time.as_secs() / 60),
    );
    merged.log_level = Some(settings.log_level.as_str().to_owned());
    merged.root = Some(settings.root);
    let shown = |time: Option<Duration>| {
        let seconds = time.map_or(0, |time| time.as_secs());
        Some(Span::from_secs(seconds).to_string())
    };
    merged.settle_time = shown(Some(settings.times.settle));
    merged.transition_timeout = shown(Some(settings.times.transition_timeout));
    merged.reverse_after = shown(settings.times.reverse_after);
    merged.patch_delay = shown(settings.patch_delay);
    Ok(merged)
}

fn merged(paths: &Paths) -> Result<Fragment, Failure> {
    Fragment::read_all(&paths.config_dirs()).map_err(|error| Failure::from_error(&error))
}

fn key(name: &str) -> Result<Key, Failure> {
    name.parse().map_err(|error: KeyError| {
        Failure::from_error(&error).hint(format!("known keys: {}", Key::list()))
    })
}

/// Changes the local fragment, if the whole configuration is sound with it.
fn change(paths: &Paths, items: &[String]) -> Result<(), Failure> {
    let path = paths.local_config();
    let mut fragment = Fragment::read(&path).map_err(|error| Failure::from_error(&error))?;
    for (name, value) in items.iter().filter_map(|item| item.split_once('=')) {
        let value = if value == "@stdin" {
            read_stdin()?
        } else {
            value.to_owned()
        };
        key(name)?
            .set(&mut fragment, &value)
            .map_err(|error| Failure::from_error(&error))?;
    }
    let whole = fragment
        .read_all_with(&path, &paths.config_dirs())
        .map_err(|error| Failure::from_error(&error))?;
    Settings::check(&whole, paths).map_err(|error| Failure::from_error(&error))?;
    let text = toml::to_string(&fragment).map_err(|error| Failure::from_error(&error))?;
    if let Some(directory) = path.parent() {
        files::create_dir(directory, 0o755).map_err(|error| cannot_write(&path, &error))?;
    }
    files::write_atomic(&path, text.as_bytes(), mode(&fragment))
        .and_then(|()| show_to_daemon(paths, &path))
        .map_err(|error| cannot_write(&path, &error))
}

/// What only root and a group may read, the daemon's group may.
fn show_to_daemon(paths: &Paths, path: &std::path::Path) -> io::Result<()> {
    match ServiceUser::find(paths) {
        Ok(Some(user)) if rustix::process::geteuid().is_root() => {
            std::os::unix::fs::chown(path, None, Some(user.gid))
        }
        _ => Ok(()),
    }
}

/// A proxy's password is for root and the daemon alone.
fn mode(fragment: &Fragment) -> u32 {
    let has_password = |text: &Option<String>| text.as_ref().is_some_and(|url| url.contains('@'));
    let secret = has_password(&fragment.http_proxy) || has_password(&fragment.https_proxy);
    if secret { 0o640 } else { 0o644 }
}

fn cannot_write(path: &std::path::Path, error: &io::Error) -> Failure {
    let failure =
        Failure::new(format!("cannot write `{}`", path.display())).because(error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint("try it with `sudo`"),
        _ => failure,
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(STDIN_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::new("cannot read the value from the standard input").because(error.to_string())
        })?;
    if text.len() as u64 > STDIN_LIMIT {
        return Err(Failure::new(format!(
            "the value on the standard input has more than {STDIN_LIMIT} bytes"
        )));
    }
    // What `echo` adds is no part of the value.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    fn change_one(tree: &FakeTree, item: &str) -> Result<(), String> {
        change(&tree.paths(), &[item.to_owned()]).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_changed_value_counts_and_a_cleared_one_falls_back() {
        let tree = FakeTree::new();
        tree.write(
            "usr/lib/livepatch/config.d/10-vendor.toml",
            b"check-interval = 30",
        );
        change_one(&tree, "check-interval=15").unwrap();
        change_one(&tree, "remote-server=https://livepatch.example.com").unwrap();
        assert_eq!(effective(&tree.paths()).unwrap().check_interval, Some(15));
        change_one(&tree, "check-interval=").unwrap();
        assert_eq!(effective(&tree.paths()).unwrap().check_interval, Some(30));
        let written = std::fs::read_to_string(tree.paths().local_config()).unwrap();
        assert_eq!(
            written,
            "remote-server = \"https://livepatch.example.com\"\n"
        );
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let tree = FakeTree::new();
        assert!(change_one(&tree, "remote-server=http://example.com").is_err());
        let error = change_one(&tree, "colour=red").unwrap_err();
        assert!(
            error.contains("there is no configuration key `colour`"),
            "{error}"
        );
        assert!(
            error.contains("hint: known keys: remote-server, ca-certs"),
            "{error}"
        );
        assert!(!tree.paths().local_config().exists());
    }

    #[test]
    fn a_cleared_value_that_another_needs_stays() {
        let tree = FakeTree::new();
        let site = "remote-server = 'http://10.0.2.2:8080'";
        change_one(&tree, "allow-plain-http=true").unwrap();
        tree.write("etc/livepatch/config.d/95-site.toml", site.as_bytes());
        let error = change_one(&tree, "allow-plain-http=").unwrap_err();
        assert!(error.contains("tokens would travel unprotected"), "{error}");
        assert_eq!(
            effective(&tree.paths()).unwrap().allow_plain_http,
            Some(true)
        );
    }

    #[test]
    fn a_proxy_password_is_for_root_alone() {
        let mut fragment = Fragment::default();
        assert_eq!(mode(&fragment), 0o644);
        fragment.https_proxy = Some("http://name:word@proxy.example.com".to_owned());
        assert_eq!(mode(&fragment), 0o640);
    }
}
