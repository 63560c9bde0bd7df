//! Stories of the whole system: real source packages, a stock kernel under QEMU, the real
//! programs over real TLS. Each test says which kernel it picked.

mod another_release;
mod authors;
mod browser;
mod build_refusals;
mod carried;
mod copied_disk;
mod cumulative;
mod debian;
mod deployed;
mod known_fixes;
mod lost_timer;
mod machine_limit;
mod machine_refusals;
mod older_kernel;
mod package;
mod passkeys;
mod planted;
mod portal;
mod power_cuts;
mod preprocessors;
mod reproducible;
mod rollout;
mod site;
mod smoke;
mod snap;
mod stalled;
mod static_key;
mod story;
mod verdicts;
