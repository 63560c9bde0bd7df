//! What the host tells the guest through the initramfs.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Where the configuration lies in the initramfs.
pub const CONFIG_PATH: &str = "/etc/guest-init.json";

/// The guest's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    pub hostname: String,
    /// Module files to load at boot, in this order.
    pub modules: Vec<String>,
    pub network: Option<NetworkConfig>,
    /// The device over which the host talks.
    pub port: String,
    /// Where the first virtio disk is mounted.
    pub disk: Option<String>,
    /// Whether the disk holds a whole system, whose own init takes over.
    pub system: bool,
}

/// The guest's network as QEMU's user networking expects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    pub interface: String,
    /// Address with prefix length.
    pub address: String,
    pub gateway: String,
}

impl GuestConfig {
    /// Reads the configuration from a file, [`CONFIG_PATH`] as a rule.
    pub fn read(path: &str) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.to_owned())?;
        serde_json::from_slice(&bytes).with_context(|| path.to_owned())
    }
}
