//! Secrets that took part in a whole run: each is where it belongs, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use suture::scenario::Guest;

/// A secret, and the files that may hold it.
pub struct Planted {
    pub name: &'static str,
    pub text: String,
    pub homes: Vec<PathBuf>,
}

/// Asserts that no file below a folder holds a secret, but its homes. Databases and what is
/// packed into them are searched as bytes.
pub fn assert_at_home(folder: &Path, secrets: &[Planted]) {
    let mut searched = 0;
    for file in files(folder) {
        // A socket, or gone meanwhile.
        let Ok(bytes) = fs::read(&file) else { continue };
        searched += 1;
        for secret in secrets {
            let at_home = secret.homes.iter().any(|home| file.starts_with(home));
            let found = memchr::memmem::find(&bytes, secret.text.as_bytes());
            assert!(
                at_home || found.is_none(),
                "`{}` holds the {}",
                file.display(),
                secret.name
            );
            if secret.homes.contains(&file) {
                assert!(found.is_some(), "the {} was really used", secret.name);
            }
        }
    }
    assert!(searched > 0, "`{}` has files", folder.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Asserts that on a machine only its own file holds its secret, and none any of the others.
pub fn assert_machine_keeps_its_own(guest: &Guest, own: &str, others: &[&Planted]) {
    let holding = |text: &str| {
        let search = format!("grep -rlF -e '{text}' /etc /var /run /root /tmp 2>/dev/null || true");
        let found = guest.vm.shell(&search).expect("searched");
        found.stdout.trim().to_owned()
    };
    assert_eq!(holding(own), MACHINE_SECRET);
    for secret in others {
        assert_eq!(holding(&secret.text), "", "the {}", secret.name);
    }
}

/// Where an agent keeps its machine's secret.
pub const MACHINE_SECRET: &str = "/var/lib/livepatch/machine-secret";
