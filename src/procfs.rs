//! What Linux shows of its processes. Other systems show nothing here: processes are then seen through `exec` alone.

#[cfg(all(target_os = "linux", not(taskdiag_elsewhere)))]
pub use ::procfs::{boot_time_secs, net, process, ticks_per_second};

#[cfg(not(all(target_os = "linux", not(taskdiag_elsewhere))))]
pub use elsewhere::{boot_time_secs, net, process, ticks_per_second};

/// Those that can be seen now; one that ends meanwhile is left out.
pub fn all_processes() -> impl Iterator<Item = process::Process> {
    process::all_processes().into_iter().flatten().flatten()
}

/// The same names where there is no /proc. (`--cfg taskdiag_elsewhere` builds it on Linux: a check that it still fits.)
#[cfg(not(all(target_os = "linux", not(taskdiag_elsewhere))))]
mod elsewhere {
    #[cfg(target_os = "linux")]
    use ::procfs as facts;
    #[cfg(not(target_os = "linux"))]
    use ::procfs_core as facts;

    use facts::{ProcError, ProcResult};

    fn nobody_tells<T>() -> ProcResult<T> {
        Err(ProcError::NotFound(None))
    }

    pub fn boot_time_secs() -> ProcResult<u64> {
        nobody_tells()
    }

    pub fn ticks_per_second() -> u64 {
        100
    }

    pub mod net {
        use super::facts::ProcResult;
        pub use super::facts::net::{TcpNetEntry, TcpState};

        pub fn tcp() -> ProcResult<Vec<TcpNetEntry>> {
            super::nobody_tells()
        }

        pub fn tcp6() -> ProcResult<Vec<TcpNetEntry>> {
            super::nobody_tells()
        }
    }

    pub mod process {
        use std::collections::HashMap;
        use std::ffi::OsString;
        use std::path::PathBuf;

        use super::facts::ProcResult;
        pub use super::facts::process::{FDTarget, Stat};
        use super::net::TcpNetEntry;
        use super::nobody_tells;

        #[derive(Debug)]
        pub struct Process {
            pub pid: i32,
        }

        #[derive(Debug)]
        pub struct FDInfo {
            pub target: FDTarget,
        }

        #[derive(Debug)]
        pub struct Task {
            pub tid: i32,
        }

        pub fn all_processes() -> ProcResult<std::iter::Empty<ProcResult<Process>>> {
            nobody_tells()
        }

        impl Process {
            pub fn new(_: i32) -> ProcResult<Self> {
                nobody_tells()
            }

            pub fn myself() -> ProcResult<Self> {
                nobody_tells()
            }

            pub fn stat(&self) -> ProcResult<Stat> {
                nobody_tells()
            }

            pub fn uid(&self) -> ProcResult<u32> {
                nobody_tells()
            }

            pub fn cmdline(&self) -> ProcResult<Vec<String>> {
                nobody_tells()
            }

            pub fn cwd(&self) -> ProcResult<PathBuf> {
                nobody_tells()
            }

            pub fn exe(&self) -> ProcResult<PathBuf> {
                nobody_tells()
            }

            pub fn environ(&self) -> ProcResult<HashMap<OsString, OsString>> {
                nobody_tells()
            }

            pub fn fd(&self) -> ProcResult<std::iter::Empty<ProcResult<FDInfo>>> {
                nobody_tells()
            }

            pub fn tasks(&self) -> ProcResult<std::iter::Empty<ProcResult<Task>>> {
                nobody_tells()
            }

            pub fn tcp(&self) -> ProcResult<Vec<TcpNetEntry>> {
                nobody_tells()
            }

            pub fn tcp6(&self) -> ProcResult<Vec<TcpNetEntry>> {
                nobody_tells()
            }
        }
    }
}
