//! The work that goes on while a patch is loaded.
//!
//! Each kind is a line of shell that is run again and again; a round counts only if it ended
//! well. Beside them some tasks sleep in the kernel for ever, because those are what a
//! transition has to deal with.

use suture_protocol::SmokeLoad;

/// Processes, pipes, files, sockets, and the kernel's own files.
const GENERAL: &[(&str, &str)] = &[
    (
        "processes and pipes",
        "sh -c 'exit 0' && echo text | cat | grep -q text && \
         sh -c 'sleep 9 & kill $!; wait $!; true'",
    ),
    (
        "files",
        "d=/tmp/files; mkdir -p $d/a && dd if=/dev/zero of=$d/a/f bs=4k count=8 2>/dev/null && \
         ln $d/a/f $d/g && mv $d/g $d/h && chmod 600 $d/h && sync && cat $d/h >/dev/null && \
         find $d >/dev/null && rm -r $d",
    ),
    (
        "sockets",
        "rm -f /tmp/got; timeout 20 nc -l -p 7007 >/tmp/got </dev/null & n=0; \
         until echo text | timeout 5 nc 127.0.0.1 7007 2>/dev/null; do \
         n=$((n + 1)); [ $n -lt 400 ] || exit 1; usleep 20000; done; wait; grep -q text /tmp/got && \
         ping -c 1 -W 5 127.0.0.1 >/dev/null",
    ),
    (
        "the kernel's own files",
        "cat /proc/[0-9]*/status /proc/[0-9]*/maps /proc/meminfo /proc/net/dev /proc/interrupts \
         >/dev/null 2>&1; ls -lR /sys/kernel/mm >/dev/null && ip addr >/dev/null && ps >/dev/null",
    ),
];

/// Work for a part of the source: path, module that it needs, preparation, round.
const SPECIAL: &[(&str, &str, &str, &str)] = &[
    (
        "fs/ext4/",
        "ext4",
        "dd if=/dev/zero of=/tmp/ext bs=1M count=16 2>/dev/null; mkfs.ext2 -F /tmp/ext >/dev/null; \
         mkdir -p /mnt/ext; mount -t ext4 -o loop /tmp/ext /mnt/ext",
        "cd /mnt/ext && dd if=/dev/zero of=f bs=64k count=16 2>/dev/null && mv f g && ls -l >/dev/null && \
         sync && rm g",
    ),
    (
        "fs/fat/",
        "vfat",
        "dd if=/dev/zero of=/tmp/fat bs=1M count=16 2>/dev/null; mkfs.vfat /tmp/fat >/dev/null; \
         mkdir -p /mnt/fat; mount -t vfat -o loop /tmp/fat /mnt/fat",
        "cd /mnt/fat && dd if=/dev/zero of=f bs=64k count=16 2>/dev/null && mv f g && ls -l >/dev/null && \
         sync && rm g",
    ),
    (
        "fs/overlayfs/",
        "overlay",
        "cd /tmp; mkdir -p lower upper work /mnt/over; echo text >lower/f; mount -t overlay -o \
         lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work overlay /mnt/over",
        "cd /mnt/over && echo more >>f && cat f >/dev/null && mkdir d && rmdir d && ls -l >/dev/null",
    ),
];

/// Tasks that sleep: in a read, in a timer, in an accept, in a poll.
const SLEEPERS: &str = "mkfifo /tmp/fifo; cat /tmp/fifo & sleep 100000 & \
     nc -l -p 7008 </dev/null & tail -f /dev/null & (while :; do sleep 1; done) &";

/// The kinds of work of one test.
pub(super) struct Loads {
    kinds: Vec<(String, String)>,
    prepare: Vec<&'static str>,
}

/// Modules that the work needs.
pub(super) fn modules(units: &[&str]) -> Vec<&'static str> {
    let mut modules: Vec<&str> = special(units).map(|(_, module, ..)| *module).collect();
    if modules.iter().any(|module| *module != "overlay") {
        modules.push("loop");
    }
    if modules.contains(&"vfat") {
        modules.extend(["nls_cp437", "nls_ascii"]);
    }
    modules
}

fn special<'a>(
    units: &'a [&'a str],
) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str, &'static str)> + 'a {
    SPECIAL
        .iter()
        .filter(|(path, ..)| units.iter().any(|unit| unit.starts_with(path)))
}

impl Loads {
    /// The general kinds, those of the patched parts, and the vendor's own.
    pub fn of(units: &[&str], extra: Option<&str>) -> Self {
        let mut loads = Self {
            kinds: Vec::new(),
            prepare: Vec::new(),
        };
        for (name, round) in GENERAL {
            loads.kinds.push(((*name).to_owned(), (*round).to_owned()));
        }
        for (path, _, prepare, round) in special(units) {
            loads.prepare.push(prepare);
            loads
                .kinds
                .push((path.trim_end_matches('/').to_owned(), (*round).to_owned()));
        }
        if let Some(script) = extra {
            loads
                .kinds
                .push(("the vendor's own".to_owned(), script.to_owned()));
        }
        loads
    }

    pub fn names(&self) -> Vec<&str> {
        self.kinds.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn rounds(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|(_, round)| round.as_str())
    }

    /// What has to be there before the first round.
    pub fn preparation(&self) -> String {
        let modules = "modprobe loop 2>/dev/null";
        let special: String = self
            .prepare
            .iter()
            .map(|line| format!("({line})\n"))
            .collect();
        format!("ip link set lo up\n{modules}\n{special}{SLEEPERS}")
    }

    /// No round of any.
    pub fn none(&self) -> Vec<u64> {
        vec![0; self.kinds.len()]
    }

    /// The work as the evidence tells of it.
    pub fn told(&self, before: &[u64], between: &[u64], after: &[u64]) -> Vec<SmokeLoad> {
        let told = |(place, (name, _)): (usize, &(String, String))| SmokeLoad {
            name: name.clone(),
            rounds: [before[place], between[place], after[place]],
        };
        self.kinds.iter().enumerate().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patched_part_chooses_more_work() {
        assert_eq!(Loads::of(&["kernel/fork.c"], None).names().len(), 4);
        let loads = Loads::of(&["fs/ext4/inode.c"], Some("true"));
        assert_eq!(loads.names()[4..], ["fs/ext4", "the vendor's own"]);
        assert_eq!(modules(&["fs/ext4/inode.c"]), ["ext4", "loop"]);
        assert_eq!(modules(&["fs/overlayfs/dir.c"]), ["overlay"]);
        assert!(modules(&["net/core/dev.c"]).is_empty());
    }
}
