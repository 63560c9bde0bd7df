//! seccomp: which system calls the two processes may make.
//!
//! What is not listed fails with `ENOSYS`, as on a kernel that lacks it: the C library then takes
//! an older call where there is one (`clone3` → `clone`), and nothing is killed on a machine
//! where a library does something that no test saw.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use thiserror::Error;

/// Files, memory, threads, time, signals to itself: what both need.
const COMMON: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_ioctl,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The same as some of [`COMMON`], on architectures that are old enough to have both.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

const NETWORK: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_setsockopt,
    libc::SYS_socket,
    libc::SYS_socketpair,
];

/// Modules from sealed memory files, and the daemon's end.
const MODULES: &[c_long] = &[
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_kill,
    libc::SYS_memfd_create,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// All flags of clone(2) that make a namespace.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

#[derive(Debug, Error)]
pub enum CallsError {
    #[error("the agent cannot confine itself to its system calls")]
    Filter(#[from] seccompiler::Error),
    #[error("the agent cannot confine itself to its system calls")]
    Program(#[from] seccompiler::BackendError),
}

pub(super) fn confine_daemon() -> Result<(), CallsError> {
    confine(&[COMMON, OLDER, NETWORK])
}

pub(super) fn confine_keeper() -> Result<(), CallsError> {
    confine(&[COMMON, OLDER, MODULES])
}

/// For this thread and those that it starts.
fn confine(lists: &[&[c_long]]) -> Result<(), CallsError> {
    Ok(seccompiler::apply_filter(&program(lists)?)?)
}

fn program(lists: &[&[c_long]]) -> Result<BpfProgram, CallsError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in lists.iter().copied().flatten() {
        rules.insert(*call, Vec::new());
    }
    let no_namespace = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(NAMESPACES),
        0,
    )?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use rustix::io::Errno;

    use super::*;

    /// What the load of a module begins with. (The kernel that runs this may have no modules.)
    fn holds_a_module() -> Result<(), Errno> {
        rustix::fs::memfd_create(c"module", rustix::fs::MemfdFlags::CLOEXEC).map(drop)
    }

    #[test]
    fn the_daemon_has_the_network_and_neither_modules_nor_programs() {
        let tried = thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            confine_daemon().unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap();
            thread::spawn(|| ()).join().unwrap();
            assert!(Command::new("/bin/true").spawn().is_err());
            let file = std::fs::File::open("/dev/null").unwrap();
            let refused = rustix::system::finit_module(&file, c"", 0).unwrap_err();
            (refused, holds_a_module())
        });
        assert_eq!(tried.join().unwrap(), (Errno::NOSYS, Err(Errno::NOSYS)));
    }

    #[test]
    fn the_keeper_has_modules_and_no_network() {
        let tried = thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            confine_keeper().unwrap();
            assert!(TcpListener::bind("127.0.0.1:0").is_err());
            holds_a_module()
        });
        assert_eq!(tried.join().unwrap(), Ok(()));
    }
}
