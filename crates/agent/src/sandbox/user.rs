//! The daemon's user.

use std::io;

use rustix::fs::{Gid, Uid};

use crate::failure::Failure;
use crate::files;
use crate::paths::Paths;

/// Made by the package (sysusers.d).
pub(super) const NAME: &str = "livepatch";
/// Largest list of users.
const LIMIT: u64 = 4 << 20;

/// A user of this machine that owns what the agent keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceUser {
    pub uid: u32,
    pub gid: u32,
}

impl ServiceUser {
    /// Looks it up in `/etc/passwd`, where a package puts it; none on a machine without it.
    pub fn find(paths: &Paths) -> Result<Option<Self>, Failure> {
        let path = paths.passwd();
        let text = files::if_exists(files::read_text(&path, LIMIT)).map_err(|error| {
            Failure::new(format!("cannot read `{}`", path.display())).because(error.to_string())
        })?;
        Ok(text.and_then(|text| Self::of(&text)))
    }

    /// `name:password:uid:gid:…` (passwd(5)). Root by another name is none.
    fn of(passwd: &str) -> Option<Self> {
        let line = passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            (fields.first() == Some(&NAME)).then_some(fields)
        })?;
        let number = |field: usize| line.get(field)?.parse::<u32>().ok();
        let (uid, gid) = (number(2)?, number(3)?);
        (uid != 0 && uid != u32::MAX && gid != u32::MAX).then_some(Self { uid, gid })
    }

    /// Turns this thread, which has to be the only one, into the user for good.
    pub(super) fn become_it(self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_among_others() {
        let user = |text: &str| ServiceUser::of(text).map(|user| (user.uid, user.gid));
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\
                      livepatch-x:x:7:7::/:/bin/false\n\
                      livepatch:x:998:997:Live patches:/var/lib/livepatch:/usr/sbin/nologin\n";
        assert_eq!(user(passwd), Some((998, 997)));
        assert_eq!(user("root:x:0:0::/root:/bin/sh\n"), None);
        assert_eq!(user("livepatch:x:0:0::/:/bin/sh\n"), None);
        assert_eq!(user("livepatch:x:\n"), None);
    }
}
