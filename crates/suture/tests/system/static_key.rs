//! A static key of a module that a patched function branches on: the kernel prepares no such
//! branch in a patch that is loaded before the module, so the patched code reads the key.

use suture::scenario::Guest;
use suture_vm::{FileSource, VmBuilder, probe};

use crate::site::Site;

const READER: &str = include_str!("../../../../probes/device-mapper-statistics.c");

/// The branch in `dm_io_acct`.
const BRANCH: &str = "\tif (static_branch_unlikely(&stats_enabled) &&\n\
                      \t    unlikely(dm_stats_used(&md->stats))) {\n\t\tsector_t sector;\n";

const ON: &str = "suture example: the key is on";
const OFF: &str = "suture example: the key is off";

/// A fix by which the function tells what it takes the key for.
pub fn fix(site: &Site) -> anyhow::Result<String> {
    let told = format!(
        "\tif (static_branch_unlikely(&stats_enabled))\n\t\tpr_info(\"{ON}\\n\");\n\
         \telse\n\t\tpr_info(\"{OFF}\\n\");\n{BRANCH}"
    );
    site.edited("drivers/md/dm.c", &[(BRANCH, &told)])
}

/// Gives the machine what it needs to turn the key.
pub fn prepare(site: &Site, machine: VmBuilder) -> anyhow::Result<VmBuilder> {
    let source = site.vendor.path("device-mapper-statistics.c");
    std::fs::write(&source, READER)?;
    let program = probe::compile(&source, &site.vendor.path("probes"))?;
    Ok(machine
        .module_file("dm_zero")
        .file("/usr/bin/turn-key", FileSource::Path(program), 0o755))
}

/// Loads the module, which is patched then, and turns its key between two requests.
pub fn assert_followed(guest: &Guest) -> anyhow::Result<()> {
    let turned = guest.vm.shell("modprobe dm_zero && turn-key")?;
    let console = guest.vm.console();
    assert!(turned.success(), "{turned:?}\n{console}");
    let told = console.lines().filter_map(|line| {
        let words = [ON, OFF].into_iter();
        words.clone().find(|word| line.ends_with(word))
    });
    let mut told: Vec<&str> = told.collect();
    // A request is counted when it begins and when it ends.
    told.dedup();
    assert_eq!(told, [OFF, ON], "{console}");
    Ok(())
}
